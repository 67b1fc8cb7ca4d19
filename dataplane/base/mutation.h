// Defects that are built in on purpose, to show that a test catches them. A program made with `meson setup
// -Dmutations=true` has all of them, and PENSTOCK_MUTATION in its environment names the one that is at work
// (tests/mutations/chosen.cc). In any other program mutated() is false, and nothing of them is there.
// tests/mutations/table says who catches which.
#pragma once

#include <cstdint>

// clang-format off
#define PENSTOCK_MUTATIONS(defect)                                                                                     \
  /* what is durable */                                                                                                \
  defect(acknowledge_before_flush, "a write that has completed counts as durable, and is never flushed")               \
  defect(flush_covers_later_writes, "a flush also covers what was written while it was under way")                     \
  defect(start_without_flush, "what is found at start counts as durable as it lies there")                             \
  defect(skip_prefix, "a commit that was overtaken counts as written as well")                                         \
  defect(ignore_write_error, "a write that failed counts as written")                                                  \
  defect(believe_second_flush, "a flush that failed is tried again, and believed")                                     \
  /* segments and recovery */                                                                                          \
  defect(append_to_open_segment, "a start goes on in the segment it found open")                                       \
  defect(recycle_without_zeroing, "a released slot is used again with its old header")                                 \
  defect(accept_stale_commits, "what a slot held before counts as the segment's")                                      \
  defect(ignore_commit_crc, "recovery believes a commit header whose CRC does not match")                              \
  defect(ignore_payload_crc, "recovery believes batches whose bytes do not match")                                     \
  defect(take_damage_for_tail, "commits that were durable and are missing end the log quietly")                        \
  defect(forget_producers, "recovery forgets what producers had sent")                                                 \
  defect(footer_head_first, "a footer's head is written before its rows are durable")                                  \
  defect(footer_of_now, "a footer says how partitions stand now, not at the segment's end")                            \
  /* retention */                                                                                                      \
  defect(release_before_note, "segments are released before the log starts are durable")                               \
  defect(believe_clock, "retention believes a clock that has jumped ahead")                                            \
  defect(delete_before_durable, "deleted records are confirmed before that is durable")                                \
  /* sessions */                                                                                                       \
  defect(acknowledge_when_appended, "a batch is acknowledged when it has an offset")                                   \
  defect(answer_duplicate_early, "a duplicate is answered before the original is durable")                             \
  defect(overtake_responses, "a response that is ready overtakes one that is not")                                     \
  defect(ignore_batch_crc, "a batch is taken whose bytes do not match its CRC")                                        \
  defect(high_watermark_early, "the high watermark says what is appended")                                             \
  defect(reuse_offset, "the next batch gets the last offset of the one before")                                        \
  /* buffers */                                                                                                        \
  defect(release_before_completion, "a commit's buffers are released when its write is submitted")                     \
  defect(leak_duplicate, "a duplicate that waits for nothing keeps its buffer")                                        \
  /* TCP */                                                                                                            \
  defect(move_edge_left, "the window shrinks with what the reader wants")                                              \
  defect(drop_sack_block, "the last SACK block is not read")                                                           \
  defect(skip_paws, "an old timestamp is as good as a new one")                                                        \
  defect(no_backoff, "the retransmission timeout is not doubled")                                                      \
  defect(acknowledge_beyond_hole, "all that has arrived is acknowledged, whatever is missing before it")               \
  defect(misplace_overlap, "of a segment that is known in part, the wrong bytes are kept")                             \
  defect(ignore_checksum, "a segment is taken whose checksum is wrong")                                                \
  defect(finish_before_data, "a FIN counts when it arrives, whatever is missing before it")                            \
  /* the control plane */                                                                                              \
  defect(catalog_unsaved, "a change of the catalog counts though it could not be stored")                              \
  defect(answer_before_lanes_know, "a topic's creation or deletion is answered before the lanes know")                 \
  defect(reuse_partition_number, "a deleted topic's partition numbers are given out again")                            \
  defect(producer_ids_unsaved, "producer ids are given out without a note of it")
// clang-format on

namespace penstock {

#define PENSTOCK_NAME(name, what) name,
enum class Mutation : uint8_t { none, PENSTOCK_MUTATIONS(PENSTOCK_NAME) };
#undef PENSTOCK_NAME

#ifdef PENSTOCK_MUTATIONS_BUILT_IN
inline constexpr bool mutations_built_in = true;
extern const Mutation chosen_mutation;
inline bool mutated(Mutation mutation) { return chosen_mutation == mutation; }
#else
inline constexpr bool mutations_built_in = false;
constexpr bool mutated(Mutation) { return false; }
#endif

}  // namespace penstock
