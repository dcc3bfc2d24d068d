"""The text of the watermark in the language of a task."""

import re

_CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_JAPANESE_OR_KOREAN = re.compile("[\u3041-\u30ff\uac00-\ud7a3]")


def watermark_text_for(prompt: str) -> str:
    """Return the text of the watermark for a task with this prompt.

    Japanese and Korean prompts can also contain Chinese characters, but get the English text.
    """
    return "AI生成" if _CHINESE.search(prompt) and not _JAPANESE_OR_KOREAN.search(prompt) else "AI generated"
