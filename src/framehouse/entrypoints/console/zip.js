// Writes zip files without compression, because images are already compressed (APPNOTE 6.3, without zip64).

const TABLE = Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const LOCAL_HEADER = [0x04034b50, 4];
const UTF8 = 0x0800;
const NEW_YEAR_1980 = 0x21;

function record(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((total, [, bytes]) => total + bytes, 0)));
  let offset = 0;
  for (const [value, bytes] of fields) {
    if (bytes === 4) view.setUint32(offset, value, true);
    else view.setUint16(offset, value, true);
    offset += bytes;
  }
  return new Uint8Array(view.buffer);
}

/** Return a zip file as a Blob. `files` is a list of `{name, bytes}`, with less than 4 GB in total. */
export function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, bytes } of files) {
    const nameBytes = new TextEncoder().encode(name);
    const common = [
      [20, 2],
      [UTF8, 2],
      [0, 2],
      [0, 2],
      [NEW_YEAR_1980, 2],
      [crc32(bytes), 4],
      [bytes.length, 4],
      [bytes.length, 4],
      [nameBytes.length, 2],
      [0, 2],
    ];
    const header = record([LOCAL_HEADER, ...common]);
    directory.push(
      record([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]),
      nameBytes,
    );
    parts.push(header, nameBytes, bytes);
    offset += header.length + nameBytes.length + bytes.length;
  }
  const length = directory.reduce((total, part) => total + part.length, 0);
  const end = record([
    [0x06054b50, 4],
    [0, 2],
    [0, 2],
    [files.length, 2],
    [files.length, 2],
    [length, 4],
    [offset, 4],
    [0, 2],
  ]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
