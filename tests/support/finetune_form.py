"""The Fine-tune tab's form, filled in as a person does."""

from __future__ import annotations

from served import open_page


def open_tab(page, site) -> None:
    open_page(page, site.address)
    page.get_by_role("tab", name="Fine-tune").click()


def set_number(page, where: str, value: str) -> None:
    box = page.locator(f"{where} input")
    box.fill(value)
    box.press("Tab")


def fill_form(page, name: str, steps: int) -> None:
    """A run as small as can be: few rows, few steps, one kind of layer."""
    page.wait_for_selector("#ft-outlook .mt-figures")
    set_number(page, "#ft-n", "24")
    page.click("#ft-general label:has-text('none')")
    page.click("#ft-advanced > .label-wrap")
    set_number(page, "#set-max-steps", str(steps))
    set_number(page, "#set-batch-size", "4")
    set_number(page, "#set-save-steps", "2")
    page.fill("#set-lora-target-modules :is(input, textarea)", "q_proj")
    page.fill("#ft-name :is(input, textarea)", name)
