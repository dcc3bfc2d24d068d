"""The text of the watermark depends on the language of the prompt."""

import pytest

from framehouse.domain.watermark_text import watermark_text_for


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("", "AI generated"),
        ("A fox, “wide shot” — ½ 🦊", "AI generated"),
        ("一只狐狸", "AI生成"),
        ("A poster with the word 狐", "AI生成"),
        ("𠮷", "AI生成"),
        ("夕日の写真", "AI generated"),
        ("カメラ 写真", "AI generated"),
        ("여우 狐", "AI generated"),
        ("，。！", "AI generated"),
    ],
)
def test_prompts_with_chinese_characters_get_the_chinese_text(prompt: str, text: str) -> None:
    assert watermark_text_for(prompt) == text
