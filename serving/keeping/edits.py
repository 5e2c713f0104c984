"""How many letters it takes to make one text of another: put in, left out or exchanged.

Texts come from strangers, and the obvious way costs the product of both lengths. This one costs a few operations on
whole words of the machine for each letter of one of them; and there is a length beyond which nobody counts.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 4_096
"""Letters of the longest text whose distance is counted."""


def distance(one: str, other: str) -> int:
    """The Levenshtein distance.

    Bit-parallel over columns: the differences between neighbours in a column of the usual table are +1, 0 or -1, and
    two long integers hold them (Myers 1999, J. ACM 46, as simplified by Hyyrö 2003, Explaining and extending the
    bit-parallel approximate string matching algorithm of Myers).

    Raises:
        ValueError: one of them is longer than `LONGEST`.
    """
    if max(len(one), len(other)) > LONGEST:
        raise ValueError(f"texts of more than {LONGEST} letters are not compared by letter")
    if not one or not other:
        return max(len(one), len(other))
    places: dict[str, int] = {}
    for nth, letter in enumerate(one):
        places[letter] = places.get(letter, 0) | 1 << nth
    mask, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    more, less, found = mask, 0, len(one)
    for letter in other:
        same = places.get(letter, 0)
        across = same | less
        same |= ((same & more) + more) ^ more
        rises, falls = less | ~(same | more), more & same
        found += 1 if rises & last else -1 if falls & last else 0
        rises = rises << 1 | 1
        more = (falls << 1 | ~(across | rises)) & mask
        less = rises & across & mask
    return found


def share(one: str, other: str) -> float:
    """The distance as a share of the longer text, from 0 to 1.

    Raises:
        ValueError: one of them is longer than `LONGEST`.
    """
    longer = max(len(one), len(other))
    return distance(one, other) / longer if longer else 0.0
