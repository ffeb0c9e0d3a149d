"""HPACK's Huffman code, decoded. The code is canonical: the length of each symbol's code says all.

Source: RFC 7541, appendix B
"""

from __future__ import annotations

_BY_LENGTH: dict[int, bytes] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: bytes((92, 195, 208)),
    20: bytes((128, 130, 131, 162, 184, 194, 224, 226)),
    21: bytes((153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230)),
    22: bytes((129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198,
               228, 232, 233)),
    23: bytes((1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182,
               183, 188, 191, 197, 231, 239)),
    24: bytes((9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237)),
    25: bytes((199, 207, 234, 235)),
    26: bytes((192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255)),
    27: bytes((203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254)),
    28: bytes((2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249)),
    30: bytes((10, 13, 22)),
}  # fmt: skip
"""The symbols by the length of their codes, in the order of the codes. The end of a string is padded with ones."""
_PADDING_BITS_MAX = 7


def _codes() -> dict[tuple[int, int], int]:
    codes, code, before = {}, -1, 5
    for length, symbols in _BY_LENGTH.items():
        for symbol in symbols:
            code = (code + 1) << (length - before)
            before = length
            codes[length, code] = symbol
    return codes


_CODES = _codes()


def decoded(data: bytes) -> bytes:
    """The string behind a code.

    Raises:
        ValueError: it is none.
    """
    out, code, length = bytearray(), 0, 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | (byte >> shift & 1)
            length += 1
            symbol = _CODES.get((length, code))
            if symbol is not None:
                out.append(symbol)
                code = length = 0
            elif length > 30:
                raise ValueError("a Huffman code that stands for nothing")
    if length > _PADDING_BITS_MAX or code != (1 << length) - 1:
        raise ValueError("a Huffman code that ends in the middle")
    return bytes(out)
