"""Images taken apart and put together again with right checksums: for forging, written without the project's own code.

Layout as in the specification: superblock of 4096 bytes, chunks (64-byte header; PAGE with a run table of 4032 bytes),
index, end. Records of META chunks: 16-byte header, fields of 8 bytes header and a payload padded to 8.
"""

import struct
import zlib

SUPER = 4096
HEADER = struct.Struct("<4s4sHHHHIIQIIIIIIII")
WIRES = {1: "u64", 2: "i64", 3: "bytes", 4: "text", 5: "array"}


class Chunk:
    """A chunk: its header's fields, the run table (PAGE only) and the payload."""

    def __init__(self, data, at):
        (_, self.kind, self.version, self.flags, self.codec, self.section, self.seq, self.owner, self.key, stored, _, self.items,
         _, _, _, self.reserved, _) = HEADER.unpack_from(data, at)
        at += 64
        self.table = b""
        if self.kind == b"PAGE":
            self.table = data[at : at + 4032]
            at += 4032
        self.payload = bytearray(data[at : at + stored])
        self.end = at + stored

    def encode(self):
        """The whole chunk, its header CRC, and its index entry without the offset."""
        crc = zlib.crc32(self.payload)
        table = zlib.crc32(self.table) if self.table else 0
        length = len(self.payload)
        head = HEADER.pack(
            b"CHNK", self.kind, self.version, self.flags, self.codec, self.section, self.seq, self.owner, self.key,
            length, length, self.items, table, crc, crc, self.reserved, 0,
        )[:60]
        own = zlib.crc32(head)
        return head + struct.pack("<I", own) + self.table + bytes(self.payload), own, crc

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

    def number(self, section, kind, field):
        chunk, fields = self.find(section, kind)
        return struct.unpack_from("<Q", chunk.payload, fields[field][1])[0]

    def seal(self):
        self.super[4092:] = struct.pack("<I", zlib.crc32(self.super[:4092]))
        out = bytearray(self.super)
        chain = zlib.crc32(self.super[4092:])
        index, body = bytearray(), [c for c in self.chunks if c.kind not in (b"INDX", b"END_")]
        for chunk in body:
            data, own, crc = chunk.encode()
            index += struct.pack(
                "<4sHHIIQQIIII", chunk.kind, chunk.section, chunk.codec, chunk.owner, chunk.items, chunk.key, len(out),
                len(chunk.payload), len(chunk.payload), own, crc,
            )
            out += data
            chain = zlib.crc32(struct.pack("<I", own), chain)
        index_at, count = len(out), len(body)
        for chunk in (c for c in self.chunks if c.kind == b"INDX"):
            length = len(chunk.payload)
            chunk.payload, index = index[:length], index[length:]
            data, own, _ = chunk.encode()
            out += data
            chain = zlib.crc32(struct.pack("<I", own), chain)
            count += 1
        end = next(c for c in self.chunks if c.kind == b"END_")
        index_len = len(out) - index_at
        end.payload[:] = struct.pack("<QQQQI", index_at, index_len, count, len(out) + 128, chain).ljust(64, b"\0")
        out += end.encode()[0]
        return bytes(out)
