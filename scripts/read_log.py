#!/usr/bin/env python3
"""A second reader of the log: docs/log-format.md in Python, sharing no code with the first. Changes nothing.

    scripts/read_log.py <folder>    prints what the log holds, exits with 1 if it does not hold together
"""
import hashlib
import pathlib
import struct
import sys

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, continuing=0):
    crc = continuing ^ 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Damage(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damage(what)


class Fields:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "a field is cut off")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def framed(data, magic, seed):
    """The 64 bytes of a header or mark, or None."""
    sound = len(data) == 72 and data[:4] == magic and struct.unpack("<I", data[4:8])[0] == crc32c(data[8:], seed)
    return data[8:] if sound else None


def facts(batch, count, versions):
    """Checks the facts of a batch; yields length and digest of each payload."""
    fields, stream, version = Fields(batch[96:]), None, 0
    for _ in range(count):
        flags = fields.take(1)[0]
        if flags & 2:
            need(stream is not None, "a fact goes on in no stream")
            version += 1
        else:
            stream = fields.take(fields.take(1)[0]).decode()
            version, _time = fields.varint(), fields.varint()
        need(version == versions.get(stream, 0) + 1, f"version {version} of {stream} is out of order")
        versions[stream] = version
        need(fields.varint() <= 0xFFFF, "a kind is too large")
        fields.take(1)
        fields.take(fields.varint())
        if flags & 1:
            yield fields.varint(), fields.take(32)
    need(fields.at == len(fields.data), "bytes behind the last fact")


def main(folder):
    title, number, log_id = (folder / "FORMAT").read_text().splitlines()
    need((title, number) == ("ledgerhook log", "format 1"), "not a log of format 1")
    log_id = bytes.fromhex(log_id.removeprefix("id "))
    position, chain, versions = 1, bytes(32), {}
    if (folder / "anchor").exists():
        anchor = (folder / "anchor").read_bytes()
        need(anchor[:4] == b"LHan" and struct.unpack("<I", anchor[4:8])[0] == crc32c(anchor[8:]), "bad anchor")
        fields = Fields(anchor[8:])
        need(fields.take(16) == log_id, "an anchor of another log")
        position, chain = struct.unpack("<Q", fields.take(8))[0], fields.take(32)
        while fields.at < len(fields.data):
            name = fields.take(fields.take(1)[0]).decode()
            versions[name] = fields.varint()
    floor, count = position, {"segments": 0, "batches": 0, "payloads": 0, "payloads gone": 0}
    paths = sorted(path for path in folder.glob("*.seg") if int(path.stem) >= floor)
    sealed = False
    for path in paths:
        data = path.read_bytes()
        count["segments"] += 1
        header = framed(data[:72], b"LHsg", 0)
        need(header, f"{path.name}: bad header")
        seed = crc32c(header)
        number, size, its_id, first, prev = struct.unpack("<II16sQ32s", header)
        need((number, its_id, first, prev) == (1, log_id, position, chain), f"{path.name}: does not go on at {position}")
        need(int(path.stem) == first, f"{path.name}: has the name of another")
        mark = framed(data[512:584], b"LHmk", seed)
        need(mark, f"{path.name}: bad mark (a reader may still try; this one does not)")
        flag, front, back, marked_next, _newest, marked_hash = struct.unpack("<QIIQQ32s", mark)
        sealed = flag == 1
        need(len(data) == size or sealed and len(data) == front, f"{path.name}: wrong length {len(data)}")
        at, payload_end = 1024, size
        while at < (front if sealed else payload_end):
            try:
                batch = data[at : at + 96]
                need(len(batch) == 96 and batch[:4] == b"LHbt", "no batch")
                crc, length, records, first, start, total, prev, digest = struct.unpack("<IIIQII32s32s", batch[4:])
                batch = data[at : at + length]
                need(len(batch) == length and crc == crc32c(batch[8:], seed), "checksum")
                need((first, prev, start + total) == (position, chain, payload_end), "out of order")
                need(digest == hashlib.sha256(batch[8:64] + batch[96:]).digest(), "hash")
                place, tally, seen = start, {"payloads": 0, "payloads gone": 0}, dict(versions)
                for size_of, wanted in facts(batch, records, seen):
                    payload = data[place : place + size_of]
                    gone = (size_of > 0 and len(data) == front) or (
                        size_of > 0 and payload == (b"erased; " * (size_of // 8 + 1))[:size_of])
                    need(gone or hashlib.sha256(payload).digest() == wanted, f"payload at {place}")
                    tally["payloads gone" if gone else "payloads"] += 1
                    place += size_of
                need(place == start + total, "payloads do not fill their place")
            except Damage as what:
                need(at >= front, f"{path.name}: byte {at}: {what}")
                if any(data[at:payload_end]):
                    print(f"torn tail in {path.name} from byte {at}")
                break
            versions, position, chain = seen, position + records, digest
            at, payload_end = at + length, start
            count["batches"] += 1
            for name, more in tally.items():
                count[name] += more
            if at == front:
                need((payload_end, position, chain) == (back, marked_next, marked_hash), f"{path.name}: differs from its mark")
        need(at >= front, f"{path.name}: ends before its mark")
    need(paths and not sealed, "the last segment is missing")
    print(f"positions {floor} to {position - 1}, {len(versions)} streams,", ", ".join(f"{n} {what}" for what, n in count.items()))
    print("chain", chain.hex())


if __name__ == "__main__":
    try:
        main(pathlib.Path(sys.argv[1]))
    except Damage as what:
        sys.exit(f"damaged: {what}")
