"""Passwords that sources have been seen to spoil, by what is special about them."""

import unicodedata

PASSWORDS = {
    "plain": "Correct-Horse-9",
    "non-ascii": "Pässwörd-9-ñ",
    "four bytes": "Horse-\U0001f40e-9x",
    "leading dash": "-Horse-9-correct",
    "dashes": "--base64-Horse9",
    "single quote": "Horse'9'correct",
    "double quote": 'Horse"9"correct',
    "dollar": "Horse-$HOME-`id`-9",
    "backslash": "Horse\\9\\n-correct",
    "spaces at both ends": " Horse 9-correct ",
    "NFC": unicodedata.normalize("NFC", "Horse-9-é-Å"),
    "NFD": unicodedata.normalize("NFD", "Horse-9-é-Å"),
    "equals": "=Horse-9=",
    "percent": "%48Horse-9%00",
}
ONE, LONG = "H", "Horse-9-" + "x" * 504
"""Too short for the policy, and 512 characters: too long for it."""
