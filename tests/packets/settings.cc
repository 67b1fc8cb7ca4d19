#include "tests/packets/settings.h"

#include <algorithm>
#include <functional>
#include <stdexcept>

namespace penstock::packets {

namespace {

using Words = std::vector<std::string>;
using Setter = std::function<void(Settings&, const Words&)>;

int64_t number(const Words& words) {
  if (words.size() != 1) throw std::invalid_argument("one number is expected");
  return evaluate(words[0], {});
}
Nanoseconds duration(const Words& words) {
  if (words.size() != 1) throw std::invalid_argument("one duration is expected");
  return parse_duration(words[0]);
}
bool on(const Words& words) {
  if (words.size() != 1 || (words[0] != "on" && words[0] != "off")) throw std::invalid_argument("'on' or 'off'");
  return words[0] == "on";
}
net::InterfaceAddress interface_address(const std::string& word) {
  const size_t slash = word.find('/');
  const auto address = parse_address(word.substr(0, slash));
  if (!address || slash == std::string::npos) throw std::invalid_argument("'" + word + "' is no address/prefix");
  const auto bits = static_cast<uint8_t>(evaluate(word.substr(slash + 1), {}));
  const auto* bytes = address->bytes.data();
  return {address->v6 ? net::IpAddress::from_v6(bytes) : net::IpAddress::from_v4(bytes), bits};
}

template <class T>
Setter of_config(T TcpConfig::* member) {
  return [member](Settings& s, const Words& w) { s.config.*member = static_cast<T>(number(w)); };
}
template <class T>
Setter of_port(T PortFeatures::* member) {
  return [member](Settings& s, const Words& w) { s.features.*member = static_cast<T>(number(w)); };
}
Setter of_port(bool PortFeatures::* member) {
  return [member](Settings& s, const Words& w) { s.features.*member = on(w); };
}
Setter of_time(Nanoseconds TcpTimes::* member) {
  return [member](Settings& s, const Words& w) { s.config.times.*member = duration(w); };
}
Setter of_count(uint32_t TcpTimes::* member) {
  return [member](Settings& s, const Words& w) { s.config.times.*member = static_cast<uint32_t>(number(w)); };
}
template <class T>
Setter of_script(T Settings::* member) {
  return [member](Settings& s, const Words& w) { s.*member = static_cast<T>(number(w)); };
}
Setter of_switch(bool Settings::* member) {
  return [member](Settings& s, const Words& w) { s.*member = on(w); };
}

void set_family(Settings& settings, const Words& words) {
  if (words.size() != 1 || (words[0] != "v4" && words[0] != "v6")) throw std::invalid_argument("'v4' or 'v6'");
  settings.v6 = words[0] == "v6";
}
void set_addresses(Settings& settings, const Words& words) {
  settings.config.addresses.clear();
  for (const std::string& word : words) settings.config.addresses.push_back(interface_address(word));
}
void set_ports(Settings& settings, const Words& words) {
  settings.config.ports.clear();
  for (const std::string& word : words) settings.config.ports.push_back(static_cast<uint16_t>(evaluate(word, {})));
}
void set_congestion(Settings& settings, const Words& words) {
  if (words.size() != 1 || (words[0] != "cubic" && words[0] != "new_reno")) {
    throw std::invalid_argument("'cubic' or 'new_reno'");
  }
  settings.config.congestion = words[0] == "cubic" ? CongestionKind::cubic : CongestionKind::new_reno;
}

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> table{
      {"connections_max", of_config(&TcpConfig::connections_max)},
      {"syn_backlog", of_config(&TcpConfig::syn_backlog)},
      {"time_wait_max", of_config(&TcpConfig::time_wait_max)},
      {"budget", of_config(&TcpConfig::receive_budget_bytes)},
      {"window_max", of_config(&TcpConfig::receive_window_bytes_max)},
      {"reassembly_pieces", of_config(&TcpConfig::reassembly_pieces)},
      {"reassembly_pieces_max", of_config(&TcpConfig::reassembly_pieces_max)},
      {"reassembly_ranges_max", of_config(&TcpConfig::reassembly_ranges_max)},
      {"send_pieces_max", of_config(&TcpConfig::send_pieces_max)},
      {"send_bytes_max", of_config(&TcpConfig::send_bytes_max)},
      {"send_chunks", of_config(&TcpConfig::send_chunks)},
      {"send_records", of_config(&TcpConfig::send_records)},
      {"send_records_max", of_config(&TcpConfig::send_records_max)},
      {"mss", of_config(&TcpConfig::mss_bytes)},
      {"seam", of_config(&TcpConfig::seam_bytes)},
      {"congestion", set_congestion},
      {"addresses", set_addresses},
      {"ports", set_ports},
      {"rto_initial", of_time(&TcpTimes::rto_initial)},
      {"rto_min", of_time(&TcpTimes::rto_min)},
      {"rto_max", of_time(&TcpTimes::rto_max)},
      {"delayed_ack", of_time(&TcpTimes::delayed_ack)},
      {"syn_ack_initial", of_time(&TcpTimes::syn_ack_initial)},
      {"syn_ack_retries", of_count(&TcpTimes::syn_ack_retries)},
      {"retries_max", of_count(&TcpTimes::retries_max)},
      {"user_timeout", of_time(&TcpTimes::user_timeout)},
      {"persist_max", of_time(&TcpTimes::persist_max)},
      {"persist_probes_max", of_count(&TcpTimes::persist_probes_max)},
      {"persist_limit", of_time(&TcpTimes::persist_limit)},
      {"keepalive_idle", of_time(&TcpTimes::keepalive_idle)},
      {"keepalive_interval", of_time(&TcpTimes::keepalive_interval)},
      {"keepalive_probes_max", of_count(&TcpTimes::keepalive_probes_max)},
      {"time_wait", of_time(&TcpTimes::time_wait)},
      {"fin_wait_2", of_time(&TcpTimes::fin_wait_2)},
      {"duplicate_address_wait", of_time(&TcpTimes::duplicate_address_wait)},
      {"mtu", of_port(&PortFeatures::mtu_bytes)},
      {"pieces_max", of_port(&PortFeatures::pieces_max)},
      {"receive_checksums", of_port(&PortFeatures::receive_checksums)},
      {"transmit_checksums", of_port(&PortFeatures::transmit_checksums)},
      {"segmentation", of_port(&PortFeatures::segmentation)},
      {"segmentation_max", of_port(&PortFeatures::segmentation_bytes_max)},
      {"receive_units", of_script(&Settings::receive_units)},
      {"header_units", of_script(&Settings::header_units)},
      {"send_units", of_script(&Settings::send_units)},
      {"peer_isn", of_script(&Settings::peer_isn)},
      {"peer_ts", of_script(&Settings::peer_ts)},
      {"show_start", of_switch(&Settings::show_start)},
      {"family", set_family},
      {"vlan", [](Settings& s, const Words& w) { s.vlan = static_cast<uint16_t>(number(w)); }},
      {"start", [](Settings& s, const Words& w) { s.start = duration(w); }},
  };
  return table;
}

}  // namespace

Settings settings_of(const Script& script) {
  Settings settings;
  std::copy(our_mac.begin(), our_mac.end(), settings.features.address.begin());
  settings.config.times.duplicate_address_wait = 0;
  set_addresses(settings, {"10.0.0.1/24", "fd00::1/64", "fe80::ff:fe00:1/64"});
  set_ports(settings, {"9092"});
  for (const auto& [name, setting] : script.settings) {
    const int line = script.setting_lines.at(name);
    const auto found = setters().find(name);
    if (found == setters().end()) throw ScriptError(script.file, line, "no setting '" + name + "'");
    try {
      found->second(settings, setting.words);
    } catch (const std::invalid_argument& error) {
      throw ScriptError(script.file, line, "'" + name + "': " + error.what());
    }
  }
  return settings;
}

}  // namespace penstock::packets
