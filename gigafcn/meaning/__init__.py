"""What a model's output means: probabilities, logits, or something else, by its ops."""

from gigafcn.meaning.following import Followed, followed
from gigafcn.meaning.verdict import Meaning, meaning_of

__all__ = ["Followed", "Meaning", "followed", "meaning_of"]
