"""How the page looks: ink on paper, one accent, fonts that every machine has and that hold Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import gradio as gr

FOLDER = Path(__file__).parent
SANS = (
    "system-ui",
    "Segoe UI",
    "Helvetica Neue",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "sans-serif",
)
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK SC", "monospace")

VERDIGRIS = gr.themes.Color(
    name="verdigris",
    c50="#eef6f4", c100="#d8ebe6", c200="#b2d7cf", c300="#82bdb1", c400="#529e91", c500="#34837a",
    c600="#236a63", c700="#1e5550", c800="#1b4541", c900="#173936", c950="#0b211f",
)  # fmt: skip
PAPER = gr.themes.Color(
    name="paper",
    c50="#faf9f6", c100="#f3f1ec", c200="#e6e3dc", c300="#d3cfc6", c400="#a8a39a", c500="#79756e",
    c600="#5a5751", c700="#43413d", c800="#2a2926", c900="#1c1b1a", c950="#131312",
)  # fmt: skip


def theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=VERDIGRIS,
        secondary_hue=VERDIGRIS,
        neutral_hue=PAPER,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_padding="0px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_color="*neutral_500",
        block_title_text_color_dark="*neutral_400",
        block_title_text_size="*text_xs",
        block_title_text_weight="500",
        block_info_text_size="*text_xs",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        input_shadow_focus="0 0 0 3px color-mix(in srgb, *primary_500 18%, transparent)",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_border_width="1px",
        button_cancel_background_fill="#9c3f2e",
        button_cancel_background_fill_dark="#9c3f2e",
        button_cancel_background_fill_hover="#83331f",
        button_cancel_text_color="#ffffff",
        slider_color="*primary_500",
    )


def _own(suffix: str) -> list[Path]:
    """The page's own files of a kind: the common ones, then each tab's, of a tab first the one that bears its name."""
    tabs = sorted(
        (FOLDER / "tabs").glob(f"*/*{suffix}"), key=lambda file: (file.parent.name, file.stem != file.parent.name, file.name)
    )
    return [*sorted((FOLDER / "static").glob(f"*{suffix}")), *tabs]


def css() -> str:
    """The whole page's styles, and what single tabs add to them, without what is for those who read the files."""
    said = "\n".join(file.read_text("utf-8") for file in _own(".css"))
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"/\*.*?\*/", "", said, flags=re.DOTALL))


def scripts() -> str:
    """The page's own scripts, one file a concern."""
    return "\n".join(file.read_text("utf-8") for file in _own(".js"))
