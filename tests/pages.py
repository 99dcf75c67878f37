"""Pages of HTML as tests read them."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style sheets."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note a tag."""
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        """Close a tag, and those inside that need no end."""
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        """Note a text."""
        if "style" not in self._open:
            self.text += data + " "


def words(page: Page) -> str:
    return " ".join(page.text.split())


def check_harmless(page: Page) -> None:
    """No script, no handler, and nothing that a browser would fetch."""
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "form", "base"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href", "action"):
                assert value is not None and value.startswith(("#", "data:image/png;base64,")), value
