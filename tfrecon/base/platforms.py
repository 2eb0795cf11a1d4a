"""What Linux, macOS and Windows do differently, told apart here and nowhere else."""

import unicodedata


def nfc(name: str) -> str:
    """A name as it is compared: accents composed with their letters, as Linux and Windows write
    them; file systems of macOS, and archives made there, take them apart (NFD)."""
    return unicodedata.normalize("NFC", name)
