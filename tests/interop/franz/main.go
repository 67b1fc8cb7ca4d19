// franz-go as a client of the interop test; called as clients/base.py's ProgramClient says. The further verbs, for
// clients/franz.py, answer with one JSON object; {"code": N} is the broker's refusal.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type job struct {
	Topic       string  `json:"topic"`
	Codec       string  `json:"codec"`
	Acks        string  `json:"acks"`
	Idempotent  bool    `json:"idempotent"`
	Counts      []int64 `json:"counts"`
	FirstOffset int64   `json:"first_offset"`
	PatienceMs  int     `json:"patience_ms"`
	File        string  `json:"file"`
}

// record is one line of records.py's form; Go writes bytes as base64 and nil as null by itself.
type record struct {
	Partition int32    `json:"p"`
	Key       []byte   `json:"k"`
	Value     []byte   `json:"v"`
	Headers   []header `json:"h"`
}

type header struct {
	name  string
	value []byte
}

func (h header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.name, h.value}) }

func (h *header) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&h.name, &h.value})
}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var acks = map[string]kgo.Acks{"all": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck()}

const patience = 30 * time.Second

func main() {
	if len(os.Args) < 3 {
		fail(errors.New("usage: franz VERB BOOTSTRAP ARGUMENTS..."))
	}
	verb, bootstrap, arguments := os.Args[1], os.Args[2], os.Args[3:]
	switch verb {
	case "produce":
		eachJob(arguments[0], func(job job) error { return produce(bootstrap, job) })
	case "consume":
		eachJob(arguments[0], func(job job) error { return consume(bootstrap, job) })
	default:
		administer(bootstrap, verb, arguments)
	}
}

func produce(bootstrap string, job job) error {
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.ProducerBatchCompression(codecs[job.Codec]),
		kgo.RequiredAcks(acks[job.Acks]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(50 * time.Millisecond),
		kgo.AllowAutoTopicCreation(),
	}
	if !job.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var records []*kgo.Record
	err = eachLine(job.File, func(r record) error {
		sent := &kgo.Record{Topic: job.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
		}
		records = append(records, sent)
		return nil
	})
	if err != nil {
		return err
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

func consume(bootstrap string, job job) error {
	offsets := make(map[int32]kgo.Offset)
	for partition, count := range job.Counts {
		if count > 0 {
			offsets[int32(partition)] = kgo.NewOffset().At(job.FirstOffset)
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{job.Topic: offsets}))
	if err != nil {
		return err
	}
	defer client.Close()

	file, err := os.Create(job.File)
	if err != nil {
		return err
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	defer out.Flush()
	lines := json.NewEncoder(out)

	ends, err := kadm.NewClient(client).ListEndOffsets(context.Background(), job.Topic)
	if err != nil {
		return err
	}
	if err := ends.Error(); err != nil {
		return err
	}
	remaining := int64(0)
	for partition := range offsets {
		end, _ := ends.Lookup(job.Topic, partition)
		remaining += end.Offset - job.FirstOffset
	}
	for remaining > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(job.PatienceMs)*time.Millisecond)
		fetches := client.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read := record{Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: []header{}}
			for _, h := range r.Headers {
				read.Headers = append(read.Headers, header{h.Key, h.Value})
			}
			if err := lines.Encode(read); err != nil {
				fail(err)
			}
			remaining--
		})
	}
	return nil
}

func administer(bootstrap, verb string, arguments []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		fail(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	answer := map[string]any{}
	switch verb {
	case "create":
		partitions, replicas := number(arguments[1]), number(arguments[2])
		var created kadm.CreateTopicResponse
		created, err = admin.CreateTopic(ctx, int32(partitions), int16(replicas), nil, arguments[0])
		if err == nil {
			err = created.Err
		}
	case "delete":
		var deleted kadm.DeleteTopicResponse
		deleted, err = admin.DeleteTopic(ctx, arguments[0])
		if err == nil {
			err = deleted.Err
		}
	case "leaders":
		var topics kadm.TopicDetails
		topics, err = admin.ListTopics(ctx)
		for _, topic := range topics.Sorted() {
			leaders := []int32{}
			for _, partition := range topic.Partitions.Sorted() {
				leaders = append(leaders, partition.Leader)
			}
			answer[topic.Topic] = leaders
		}
	case "cluster":
		var metadata kadm.Metadata
		metadata, err = admin.BrokerMetadata(ctx)
		brokers := map[int32]string{}
		for _, broker := range metadata.Brokers {
			brokers[broker.NodeID] = fmt.Sprintf("%s:%d", broker.Host, broker.Port)
		}
		answer["cluster_id"], answer["controller"], answer["brokers"] = metadata.Cluster, metadata.Controller, brokers
	case "offset":
		var listed kadm.ListedOffsets
		listed, err = admin.ListOffsetsAfterMilli(ctx, number(arguments[2]), arguments[0])
		if found, ok := listed.Lookup(arguments[0], int32(number(arguments[1]))); ok && found.Timestamp >= 0 {
			answer["offset"] = found.Offset
		} else {
			answer["offset"] = nil // where nothing is that late, franz-go gives the end and no timestamp
		}
	default:
		err = fmt.Errorf("unknown verb %s", verb)
	}

	var refusal *kerr.Error
	if errors.As(err, &refusal) {
		answer = map[string]any{"code": refusal.Code}
	} else if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
}

// eachLine decodes every line of a file.
func eachLine[T any](path string, use func(T) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := json.NewDecoder(bufio.NewReader(file))
	for lines.More() {
		var line T
		if err := lines.Decode(&line); err != nil {
			return err
		}
		if err := use(line); err != nil {
			return err
		}
	}
	return nil
}

// eachJob goes on after a failed job and leaves a line about it.
func eachJob(path string, do func(job) error) {
	err := eachLine(path, func(job job) error {
		if err := do(job); err != nil {
			return json.NewEncoder(os.Stdout).Encode(map[string]string{"topic": job.Topic, "error": err.Error()})
		}
		return nil
	})
	if err != nil {
		fail(err)
	}
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		fail(err)
	}
	return value
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
