"""Form controls that fit a slow link and a small terminal: no blinking, no borders, ASCII where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Checkbox, Label, RadioButton, RadioSet, Select

from tui_backup.widgets.text import shown


class PlainButton(Button):
    """A button one line high, drawn in ASCII: ``[ Start ]``."""

    def __init__(self, label: str, *, id: str | None = None, danger: bool = False, disabled: bool = False) -> None:
        super().__init__(Content(f"[ {shown(label)} ]"), id=id, compact=True, disabled=disabled)
        self.set_class(danger, "-danger")
        # The effect costs bytes twice, and swallows a second press for as long as it lasts.
        self.active_effect_duration = 0


class PlainCheckbox(Checkbox):
    """A box drawn in ASCII, ``[x]`` or ``[ ]``: Textual's own tells the two apart by colour alone."""

    def __init__(self, label: str, value: bool = False, *, id: str | None = None) -> None:
        super().__init__(Content(shown(label)), value, id=id, compact=True)

    def watch_value(self) -> None:
        """The mark is in the text: draw it anew."""
        super().watch_value()
        self.refresh()

    def render(self) -> Content:
        """Box and label."""
        return _marked(self, "[x]" if self.value else "[ ]", is_focused=self.has_focus)

    def watch_has_focus(self, has_focus: bool) -> None:
        """It looks otherwise then."""
        super().watch_has_focus(has_focus)
        self.refresh()


class PlainRadio(RadioButton):
    """A choice drawn in ASCII, ``(*)`` or ``( )``."""

    def __init__(self, label: str, value: bool = False, *, id: str | None = None) -> None:
        super().__init__(Content(shown(label)), value, id=id, compact=True)

    def watch_value(self) -> None:
        """The mark is in the text: draw it anew."""
        super().watch_value()
        self.refresh()

    def render(self) -> Content:
        """Mark and label; the chosen one shows that the keys go here."""
        is_here = self.value and isinstance(self.parent, RadioSet) and self.parent.has_focus
        return _marked(self, "(*)" if self.value else "( )", is_focused=is_here)


class PlainRadioSet(RadioSet):
    """One of several choices; the arrows choose at once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,right", "choose(1)", "Next option", show=False),
        Binding("up,left", "choose(-1)", "Previous option", show=False),
    ]

    def __init__(self, options: Sequence[tuple[str, str]], *, value: str, id: str | None = None) -> None:
        self._keys = [key for _label, key in options]
        buttons = [PlainRadio(label, key == value) for label, key in options]
        super().__init__(*buttons, id=id, compact=True)

    def watch_has_focus(self, has_focus: bool) -> None:
        """The chosen one looks otherwise then."""
        super().watch_has_focus(has_focus)
        for button in self.query(PlainRadio):
            button.refresh()

    def action_choose(self, step: int) -> None:
        """Choose the next or previous one."""
        buttons = list(self.query(PlainRadio))
        buttons[(self.pressed_index + step) % len(buttons)].value = True

    def action_toggle_button(self) -> None:
        """Space and Enter: the arrows have chosen already, and Textual's own cursor does not follow them."""

    @property
    def chosen(self) -> str:
        """Key of the chosen one."""
        return self._keys[max(0, self.pressed_index)]


def _marked(button: Checkbox | RadioButton, mark: str, *, is_focused: bool) -> Content:
    # Textual's own style for the label is not drawn anew when only the focus changes
    label = button.label.pad(1, 1)
    return Content.assemble(mark, label.stylize("reverse") if is_focused else label)


class PlainSelect(Select[str]):
    """A choice of texts. The labels come from outside and are made safe."""

    def __init__(self, options: Sequence[tuple[str, str]], *, value: str | None = None, id: str | None = None) -> None:
        super().__init__(
            [(Content(shown(label)), key) for label, key in options],
            allow_blank=not options,
            value=Select.NULL if value is None else value,
            id=id,
            compact=True,
        )

    def replace_options(self, options: Sequence[tuple[str, str]], value: str | None = None) -> None:
        """Other choices, keeping the chosen one where it is still there."""
        kept = value if value is not None else self.chosen
        self.set_options([(Content(shown(label)), key) for label, key in options])
        if kept in [key for _label, key in options]:
            self.value = kept

    @property
    def chosen(self) -> str | None:
        """The chosen key, None while nothing is chosen."""
        value = self.value
        return value if isinstance(value, str) else None


class Field(Vertical):
    """A labelled control with the place for what is wrong with it."""

    DEFAULT_CSS = """
    Field { height: auto; }
    Field > Horizontal { height: auto; }
    Field > Horizontal > Label { width: 13; }
    Field > Horizontal > .field-controls { width: 1fr; height: auto; }
    Field > .field-error { color: $text-error; padding-left: 13; display: none; height: auto; width: 1fr; }
    Field.-wrong > .field-error { display: block; }
    """

    def __init__(self, label: str, *controls: Widget, id: str | None = None) -> None:
        super().__init__(id=id)
        self._label = label
        self._controls = controls
        self._error = Label("", classes="field-error", markup=False)

    def compose(self) -> ComposeResult:
        """Label, controls, error."""
        with Horizontal():
            yield Label(self._label, markup=False)
            if len(self._controls) == 1:
                self._controls[0].add_class("field-controls")
                yield self._controls[0]
            else:
                with Horizontal(classes="field-controls"):
                    yield from self._controls
        yield self._error

    @property
    def error(self) -> str:
        """What is wrong, empty when nothing is."""
        return str(self._error.content) if self.has_class("-wrong") else ""

    def show_error(self, text: str) -> None:
        """Say what is wrong; empty = nothing is."""
        if text != self.error:
            self._error.update(Content(shown(text)))
            self.set_class(bool(text), "-wrong")
