"""What a sentence of a page means, so that tests do not depend on its wording."""

from __future__ import annotations

import re


def numbers_in(text):
    """Return the numbers of a text in their order; a real minus sign is one."""
    found = re.findall(r"[-−+]?\d[\d,]*(?:\.\d+)?", text.replace("\u00a0", " "))
    return [float(one.replace("−", "-").replace(",", "").lstrip("+")) for one in found]


def says_significant(text):
    """Return True of a significant difference, False of one that is not, None where neither is said."""
    if re.search(
        r"\bnot (?:statistically )?significant|\bnot (?:\w+ )?significantly|\bno (?:\w+ )?significant",
        text,
        re.IGNORECASE,
    ):
        return False
    return True if re.search(r"\bsignificant", text, re.IGNORECASE) else None


def side_of(text):
    """Return "better" or "worse", whichever a text says; None where it says neither or both."""
    found = {word for word in ("better", "worse") if re.search(rf"\b{word}\b", text)}
    return found.pop() if len(found) == 1 else None


def in_order(text, *names):
    """Tell whether a text has all of these, one behind the other."""
    places = [text.find(name) for name in names]
    return -1 not in places and places == sorted(places)


def worse_for(text):
    """Return the first word of each group that a text calls worse off."""
    return re.findall(r"worse for (\w+)", text)


def counts_in(text, *words):
    """Return what a headline counts, and of each word the number before it; 0 where the word is not there."""
    clauses = re.split(r", | and ", text.replace("none ", "0 "))
    named = [next((numbers_in(one)[0] for one in clauses[1:] if word in one), 0) for word in words]
    return [int(one) for one in (numbers_in(clauses[0])[0], *named)]
