// kafkajs as one of the interop test's producers; called as clients/base.py's ProgramClient says.
const fs = require('fs');
const { Kafka, CompressionTypes, logLevel } = require('kafkajs');

const acksOf = { all: -1, 0: 0, 1: 1 };
const codecOf = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP };

const lines = (file) => fs.readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
const bytes = (text) => (text === null ? null : Buffer.from(text, 'base64'));

function message(record) {
  const headers = Object.fromEntries(record.h.map(([name, value]) => [name, bytes(value)]));
  return { partition: record.p, key: bytes(record.k), value: bytes(record.v), headers };
}

async function produce(kafka, job) {
  const producer = kafka.producer({ idempotent: job.idempotent, allowAutoTopicCreation: true });
  await producer.connect();
  try {
    await producer.send({
      topic: job.topic, acks: acksOf[job.acks], compression: codecOf[job.codec], messages: lines(job.file).map(message),
    });
  } finally {
    await producer.disconnect();
  }
}

async function main([, , verb, bootstrap, jobs]) {
  if (verb !== 'produce') throw new Error(`cannot ${verb}`);
  const kafka = new Kafka({ clientId: 'interop', brokers: [bootstrap], logLevel: logLevel.NOTHING });
  for (const job of lines(jobs)) {
    try {
      await produce(kafka, job);
    } catch (error) {
      console.log(JSON.stringify({ topic: job.topic, error: String(error) }));
    }
  }
}

main(process.argv).catch((error) => {
  console.error(String(error));
  process.exit(1);
});
