"""Images taken apart and put together again with right checksums: for forging, written without the project's own code.

Layout as in the specification: superblock of 4096 bytes, chunks (64-byte header; PAGE with a run table of 4032 bytes),
index, end. Records of META chunks: 16-byte header, fields of 8 bytes header and a payload padded to 8.
"""

import struct
import zlib

SUPER = 4096
PAGE = 4096
RAW, ZSTD = 0, 1
DATA, ZERO, DUPLICATE, PARENT = 0, 1, 2, 3
RUN = struct.Struct("<QIHHQ")
HEADER = struct.Struct("<4s4sHHHHIIQIIIIIIII")
WIRES = {1: "u64", 2: "i64", 3: "bytes", 4: "text", 5: "array"}


class Chunk:
    """A chunk: its header's fields, the run table (PAGE only) and the payload."""

    def __init__(self, data, at):
        (_, self.kind, self.version, self.flags, self.codec, self.section, self.seq, self.owner, self.key, stored, self.raw_len,
         self.items, _, _, self.raw_crc, self.frame_len, _) = HEADER.unpack_from(data, at)
        at += 64
        self.table = b""
        if self.kind == b"PAGE":
            self.table = data[at : at + 4032]
            at += 4032
        self.payload = bytearray(data[at : at + stored])
        self.end = at + stored

    def encode(self):
        """The whole chunk and its header CRC; length and CRC of decoded page data are as they were set."""
        crc = zlib.crc32(self.payload)
        table = zlib.crc32(self.table) if self.table else 0
        length = len(self.payload)
        if self.codec == RAW:
            self.raw_len, self.raw_crc = length, crc
        head = HEADER.pack(
            b"CHNK", self.kind, self.version, self.flags, self.codec, self.section, self.seq, self.owner, self.key,
            length, self.raw_len, self.items, table, crc, self.raw_crc, self.frame_len, 0,
        )[:60]
        own = zlib.crc32(head)
        return head + struct.pack("<I", own) + self.table + bytes(self.payload), own

    def runs(self):
        """(start, pages, kind, source) of each run."""
        return [(start, n, kind, source) for start, n, kind, _, source in
                (RUN.unpack_from(self.table, 24 * i) for i in range(self.items))]

    def set_runs(self, runs):
        assert 0 < len(runs) <= 168, "runs of a chunk"
        self.table = b"".join(RUN.pack(start, n, kind, 0, source) for start, n, kind, source in runs).ljust(4032, b"\0")
        self.items, self.key = len(runs), runs[0][0]

    def pages(self):
        """(address, contents) of each page that this raw chunk stores."""
        at = 0
        for start, n, kind, _ in self.runs():
            for i in range(n if kind == DATA else 0):
                yield start + PAGE * i, bytes(self.payload[at : at + PAGE])
                at += PAGE

    def records(self):
        """(record type, id, {field id: (wire, position of the payload, length)}) of a META chunk."""
        at = 0
        while at + 16 <= len(self.payload):
            kind, _, length, number, count, _ = struct.unpack_from("<HHIIHH", self.payload, at)
            fields, inner = {}, at + 16
            for _ in range(count):
                field, wire, _, size = struct.unpack_from("<HBBI", self.payload, inner)
                fields[field] = (wire, inner + 8, size)
                inner += 8 + (size + 7) // 8 * 8
            yield kind, number, fields
            at += 16 + length


class Image:
    """A whole image; `seal` makes bytes of it with every checksum right."""

    def __init__(self, data):
        self.super = bytearray(data[:SUPER])
        self.chunks = []
        at = SUPER
        while at < len(data):
            chunk = Chunk(data, at)
            self.chunks.append(chunk)
            at = chunk.end
        assert self.chunks[-1].kind == b"END_", "the image does not end with END_"

    def meta(self, section):
        return [c for c in self.chunks if c.kind == b"META" and c.section == section]

    def find(self, section, kind, number=None):
        """The chunk and fields of the first record of this type (and id)."""
        for chunk in self.meta(section):
            for k, n, fields in chunk.records():
                if k == kind and (number is None or n == number):
                    return chunk, fields
        raise KeyError(f"section {section:#x} has no record of type {kind}")

    def all_fields(self):
        """(chunk, section, record type, field id, wire, position, length) of every field."""
        for chunk in self.chunks:
            if chunk.kind == b"META":
                for kind, _, fields in chunk.records():
                    for field, (wire, at, size) in fields.items():
                        yield chunk, chunk.section, kind, field, wire, at, size

    def set_number(self, section, kind, field, value, number=None):
        chunk, fields = self.find(section, kind, number)
        _, at, size = fields[field]
        assert size == 8
        struct.pack_into("<Q", chunk.payload, at, value & (2**64 - 1))

    def set_item(self, section, kind, field, index, value):
        """One element of an array."""
        chunk, fields = self.find(section, kind)
        _, at, size = fields[field]
        assert 8 * index < size
        struct.pack_into("<Q", chunk.payload, at + 8 * index, value & (2**64 - 1))

    def set_bytes(self, section, kind, field, change):
        """Bytes or text by a function of the old value; the length stays."""
        chunk, fields = self.find(section, kind)
        _, at, size = fields[field]
        new = change(bytes(chunk.payload[at : at + size]))
        assert len(new) == size
        chunk.payload[at : at + size] = new

    def page_chunks(self, section=None):
        return [c for c in self.chunks if c.kind == b"PAGE" and section in (None, c.section)]

    def deduplicate(self):
        """Makes duplicates of equal pages in raw chunks, whole runs of them where they follow each other."""
        made = 0
        for chunk in self.page_chunks():
            first, runs, payload, contents = {}, [], bytearray(), dict(chunk.pages())
            for start, n, kind, source in chunk.runs():
                if kind != DATA:
                    runs.append([start, n, kind, source])
                    continue
                for at in range(start, start + PAGE * n, PAGE):
                    page = contents[at]
                    kind, source = (DUPLICATE, first[page]) if page in first else (DATA, 0)
                    last = runs[-1] if runs else None
                    if last and last[2:] == [kind, source] and last[0] + PAGE * last[1] == at and at != start:
                        last[1] += 1
                    else:
                        runs.append([at, 1, kind, source])
                    if kind == DATA:
                        first[page] = at
                        payload += page
                    else:
                        made += 1
            if len(runs) <= 168:
                chunk.set_runs([tuple(r) for r in runs])
                chunk.payload = payload
        return made

    def number(self, section, kind, field):
        chunk, fields = self.find(section, kind)
        return struct.unpack_from("<Q", chunk.payload, fields[field][1])[0]

    def seal(self):
        self.super[4092:] = struct.pack("<I", zlib.crc32(self.super[:4092]))
        out = bytearray(self.super)
        chain = zlib.crc32(self.super[4092:])
        index, body = bytearray(), [c for c in self.chunks if c.kind not in (b"INDX", b"END_")]
        for chunk in body:
            data, own = chunk.encode()
            index += struct.pack(
                "<4sHHIIQQIIII", chunk.kind, chunk.section, chunk.codec, chunk.owner, chunk.items, chunk.key, len(out),
                len(chunk.payload), chunk.raw_len, own, chunk.raw_crc,
            )
            out += data
            chain = zlib.crc32(struct.pack("<I", own), chain)
        index_at, count = len(out), len(body)
        for chunk in (c for c in self.chunks if c.kind == b"INDX"):
            most = (1 << 20) // 48 * 48
            chunk.payload, index = index[:most], index[most:]
            chunk.items = len(chunk.payload) // 48
            data, own = chunk.encode()
            out += data
            chain = zlib.crc32(struct.pack("<I", own), chain)
            count += 1
        end = next(c for c in self.chunks if c.kind == b"END_")
        index_len = len(out) - index_at
        end.payload[:] = struct.pack("<QQQQI", index_at, index_len, count, len(out) + 128, chain).ljust(64, b"\0")
        out += end.encode()[0]
        return bytes(out)
