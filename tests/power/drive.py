"""A drive with a volatile cache that can lose its power. QEMU is its computer, over NBD.

A write is in the cache when it is answered, and on the medium once a flush is answered that came after that, or at once
if it was to be (FUA). Both take their time, and requests pass one another. When the power goes, the medium keeps what it
has, and of everything else any subset of its sectors.

  drive.py SOCKET MEGABYTES SECTOR SEED

Takes commands by line on standard input and answers each with a line of JSON:

  freeze      the power goes: nothing is answered any more
  cut [some]  what is left is what the next computer finds; some: not all of it may stay
  save PATH   the medium, into a file
"""

import asyncio
import json
import mmap
import random
import struct
import sys
from dataclasses import dataclass

READ, WRITE, DISCONNECT, FLUSH, WRITE_ZEROES = 0, 1, 2, 3, 6
FUA = 1
REQUEST = struct.Struct(">IHHQQI")
REQUEST_MAGIC, REPLY_MAGIC, OPTION_REPLY_MAGIC = 0x25609513, 0x67446698, 0x3E889045565A9
HAS_FLAGS, HAS_FLUSH, HAS_FUA, HAS_WRITE_ZEROES = 1, 4, 8, 64
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPTION_ABORT, OPTION_GO = 2, 7
ACKNOWLEDGED, INFORMATION, UNSUPPORTED = 1, 3, 0x80000001
INVALID = 22

WRITE_S_MAX = 0.002
FLUSH_S = (0.005, 0.05)


@dataclass(eq=False)
class Write:
    at: int
    data: bytearray
    answered: bool = False

    @property
    def end(self) -> int:
        return self.at + len(self.data)

    def supersede(self, older: "Write") -> None:
        """The medium has this one already: what lies in the cache from before must not undo it."""
        begin, end = max(self.at, older.at), min(self.end, older.end)
        if begin < end:
            older.data[begin - older.at:end - older.at] = self.data[begin - self.at:end - self.at]


class Drive:
    def __init__(self, size: int, sector: int, seed: int):
        self.size, self.sector = size, sector
        self.random = random.Random(seed)
        self.seen, self.medium = mmap.mmap(-1, size), mmap.mmap(-1, size)  # by the computer; by what comes after it
        self.cached: list[Write] = []
        self.power = 0  # how many times it has gone
        self.flushes = self.writes = self.durable_writes = 0

    # ---- requests ----

    async def write(self, at: int, data: bytes, durable: bool) -> None:
        write = Write(at, bytearray(data))
        self.cached.append(write)
        self.writes += 1
        self.seen[at:at + len(data)] = data
        power = self.power
        await asyncio.sleep(self.random.uniform(0, WRITE_S_MAX))
        if self.power != power:
            return
        write.answered = True
        if durable:
            self.durable_writes += 1
            self.keep([write])

    async def flush(self) -> None:
        covered = [write for write in self.cached if write.answered]
        power = self.power
        await asyncio.sleep(self.random.uniform(*FLUSH_S))
        if self.power != power:
            return
        self.flushes += 1
        self.keep(covered)

    def keep(self, writes: list[Write]) -> None:
        kept = set(writes) & set(self.cached)  # two flushes may cover the same
        left = []
        for write in self.cached:
            if write not in kept:
                left.append(write)
                continue
            self.medium[write.at:write.end] = write.data
            for older in left:
                write.supersede(older)
        self.cached = left

    # ---- the power ----

    def freeze(self) -> None:
        self.power += 1

    def cut(self, all_may_stay: bool = True) -> dict:
        """Of each write none, all, its first sectors or any, and sometimes nothing at all or everything."""
        answered = sum(write.answered for write in self.cached)
        manner = self.random.choice(["any", "any", "any", "none", "all" if all_may_stay else "none"])
        lost = torn = 0
        for write in self.cached:
            count = -(-len(write.data) // self.sector)
            how = self.random.choice(["none", "all", "first", "any"]) if manner == "any" else manner
            first = self.random.randrange(count + 1)
            survives = [how == "all" or how == "first" and number < first or how == "any" and self.random.random() < 0.5
                        for number in range(count)]
            lost += not any(survives)
            torn += any(survives) and not all(survives)
            for number in range(count):
                if survives[number]:
                    part = write.data[number * self.sector:(number + 1) * self.sector]
                    self.medium[write.at + number * self.sector:write.at + number * self.sector + len(part)] = part
        for write in self.cached:
            self.seen[write.at:write.end] = self.medium[write.at:write.end]
        told = {"unflushed": len(self.cached), "answered": answered, "lost": lost, "torn": torn, "manner": manner,
                "writes": self.writes, "flushes": self.flushes, "durable_writes": self.durable_writes}
        self.cached = []
        self.flushes = self.writes = self.durable_writes = 0
        return told

    # ---- NBD ----

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await self.agree(reader, writer):
                await self.answer_requests(reader, writer, self.power)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def agree(self, reader, writer) -> bool:
        writer.write(b"NBDMAGICIHAVEOPT" + struct.pack(">H", FIXED_NEWSTYLE | NO_ZEROES))
        await reader.readexactly(4)
        while True:
            _, option, length = struct.unpack(">8sII", await reader.readexactly(16))
            await reader.readexactly(length)

            def reply(kind: int, data: bytes = b"") -> None:
                writer.write(struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

            if option == OPTION_GO:
                flags = HAS_FLAGS | HAS_FLUSH | HAS_FUA | HAS_WRITE_ZEROES
                reply(INFORMATION, struct.pack(">HQH", 0, self.size, flags))
                reply(ACKNOWLEDGED)
                return True
            reply(ACKNOWLEDGED if option == OPTION_ABORT else UNSUPPORTED)
            if option == OPTION_ABORT:
                return False

    async def answer_requests(self, reader, writer, power: int) -> None:
        under_way = set()

        async def answer(kind: int, flags: int, handle: int, at: int, data: bytes) -> None:
            if kind == FLUSH:
                await self.flush()
            else:
                await self.write(at, data, bool(flags & FUA))
            if self.power == power:
                writer.write(struct.pack(">IIQ", REPLY_MAGIC, 0, handle))

        while True:
            magic, flags, kind, handle, at, length = REQUEST.unpack(await reader.readexactly(REQUEST.size))
            assert magic == REQUEST_MAGIC
            data = await reader.readexactly(length) if kind == WRITE else bytes(length if kind == WRITE_ZEROES else 0)
            if self.power != power:
                continue
            if kind == DISCONNECT:
                return
            if kind == READ:
                writer.write(struct.pack(">IIQ", REPLY_MAGIC, 0, handle) + self.seen[at:at + length])
            elif kind in (WRITE, WRITE_ZEROES, FLUSH):
                # A task begins in the order it was made.
                task = asyncio.create_task(answer(kind, flags, handle, at, data))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            else:
                writer.write(struct.pack(">IIQ", REPLY_MAGIC, INVALID, handle))


# ---- the program ----

async def obey(drive: Drive) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := (await commands.readline()).split():
        told = {}
        match line[0]:
            case b"freeze":
                drive.freeze()
            case b"cut":
                told = drive.cut(all_may_stay=line[1:] != [b"some"])
            case b"save":
                with open(line[1], "wb") as file:
                    file.write(drive.medium)
        print(json.dumps(told), flush=True)


async def main(path: str, megabytes: str, sector: str, seed: str) -> None:
    drive = Drive(int(megabytes) << 20, int(sector), int(seed))
    async with await asyncio.start_unix_server(drive.serve, path):
        print(json.dumps({}), flush=True)
        await obey(drive)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
