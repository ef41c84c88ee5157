"""An agent's Markdown in Chromium: what is drawn of it, while it streams and at its end, and what it cannot do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests import processes
from tests.browser.chat_page import ChatPage, open_before, welcome
from tests.browser.conftest import new_context
from tests.browser.markdown_samples import EVERY_FORM, HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")

DRAW = """async text => {
    const { TextView } = await import('/static/relay/chat-text.js');
    const view = window.view_ ??= new TextView();
    if (!view.element.isConnected) document.querySelector('#turns').append(view.element);
    view.show(text, false);
}"""
CLEAR = "() => { document.querySelector('#turns').replaceChildren(); delete window.view_; delete window.isHacked; }"
END = "text => window.view_.show(text, true)"
SHOWN = "() => window.view_.element.innerHTML"


async def test_every_form_is_drawn(chat: ChatPage) -> None:
    answer = (await chat.ask(EVERY_FORM)).get_by_role("group", name="Answer")
    await expect(answer.get_by_role("heading", level=2)).to_have_text("A plan for the week")
    await expect(answer.get_by_role("heading", level=3)).to_have_text("Lists")
    await expect(answer.get_by_role("heading", level=4)).to_have_text("Deeper")
    await expect(answer.locator("p strong").first).to_have_text("bold")
    await expect(answer.locator("em")).to_have_text("slanted")
    await expect(answer.locator("s")).to_have_text("struck")
    await expect(answer.locator("ol > li > ul > li p")).to_have_text(
        ["inner one", "inner two", "with a second paragraph"]
    )
    await expect(answer.get_by_role("checkbox", name="Done")).to_be_checked()
    await expect(answer.get_by_role("checkbox", name="To do")).not_to_be_checked()
    await expect(answer.locator("blockquote blockquote")).to_have_text("and one within.")
    await expect(answer.get_by_role("cell", name="Cake")).to_be_visible()
    await expect(answer.locator("td.right")).to_have_text(["3.50", "4.00"])
    await expect(answer.locator("math")).to_have_count(3)
    await expect(answer.locator(".math.block math")).to_have_attribute("display", "block")
    await expect(answer.get_by_text("costs $5 and $6, and")).to_be_visible()
    await expect(answer.locator("hr")).to_have_count(1)


async def test_links_open_elsewhere_and_tell_nothing(chat: ChatPage) -> None:
    links = (await chat.ask(EVERY_FORM)).locator("a")
    assert await links.evaluate_all("links => links.map(({ href }) => href)") == [
        "https://example.com/a?b=c",
        "https://example.org/bare",
        "https://example.com/cat.png",
    ]
    assert set(await links.evaluate_all("links => links.map(({ rel }) => rel)")) == {"noopener noreferrer nofollow"}
    await expect(links.last).to_have_text("Image: a picture")


async def test_code_has_its_language_its_colours_and_a_copy_button(chat: ChatPage) -> None:
    await chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    turn = await chat.ask("~~~py\nif a < b:\n\n    `x`\n~~~\nend")
    code = turn.get_by_role("group", name="Code, py")
    assert await code.text_content() == "if a < b:\n\n    `x`"
    await expect(code.locator(".hljs-keyword")).to_have_text("if")
    await chat.page.evaluate("window.setTimeout = () => 0")  # or the button is itself again before it is looked at
    await turn.get_by_role("button", name="Copy code").click()
    await expect(turn.get_by_role("button", name="Copied")).to_be_visible()
    assert await chat.page.evaluate("navigator.clipboard.readText()") == "if a < b:\n\n    `x`"


async def test_highlighter_and_formulas_load_when_they_are_needed(chat: ChatPage) -> None:
    loaded = "() => performance.getEntriesByType('resource').map(({ name }) => name.split('/').at(-1))"
    await chat.ask("plain **words**")
    before = set(await chat.page.evaluate(loaded))
    assert "markdown-it.js" in before
    assert not before & {"highlight.js", "katex.js"}
    turn = await chat.ask("~~~py\nif x:\n~~~\n\n$x$")
    await expect(turn.locator("math, .hljs-keyword")).to_have_count(2)
    assert {"highlight.js", "katex.js"} <= set(await chat.page.evaluate(loaded))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(browser: Browser, site: processes.Process) -> AsyncIterator[ChatPage]:
    """A page on which each test draws a text of its own."""
    async with new_context(browser) as context:
        chat = await ChatPage(await context.new_page(), site.http_url).open()
        complain = chat.complaints.append
        chat.page.on("request", lambda request: complain(request.url) if "hacked" in request.url else None)
        chat.page.on("dialog", lambda dialog: complain(dialog.message))
        yield chat


@pytest_asyncio.fixture(loop_scope="session")
async def drawing(shared: ChatPage) -> AsyncIterator[Page]:
    """The page that tests share, without a text; a test fails where the page complains, or asks for what is hostile."""
    await shared.page.evaluate(CLEAR)
    shared.complaints.clear()
    yield shared.page
    assert shared.complaints == []


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_nothing_an_agent_writes_acts(drawing: Page, hostile: str) -> None:
    """Whole, and cut at every place, as it may be while it streams."""
    seen = await drawing.evaluate(
        """async text => {
            const { TextView } = await import('/static/relay/chat-text.js');
            const holder = document.querySelector('#turns');
            const view = new TextView();
            holder.replaceChildren(view.element);
            const found = [];
            const isBad = element =>
                element.getAttributeNames().some(name => /^(on.*|style|src|srcdoc|action)$/.test(name)) ||
                element.matches('script, img, iframe, object, embed, svg, form, link, meta, base, style') ||
                (element.hasAttribute('href') && !/^(https?|mailto):/.test(element.href));
            const look = () => found.push(...[...view.element.querySelectorAll('*')].filter(isBad));
            for (let end = 1; end < text.length; end++) { view.show(text.slice(0, end), false); look(); }
            view.show(text, true);
            look();
            await Promise.all([import('/static/relay/vendor/katex.js'), import('/static/relay/vendor/highlight.js')]);
            await new Promise(resolve => setTimeout(resolve)); // what would run, has run
            look();
            return { found: found.map(element => element.outerHTML), isHacked: window.isHacked ?? null };
        }""",
        hostile,
    )
    assert seen == {"found": [], "isHacked": None}


async def test_hostile_answers_do_nothing_in_the_whole_page(tab: Callable[..., Any], site: processes.Process) -> None:
    """As one conversation, over the socket, through the page's own code."""
    frames: list[str] = []
    for number, text in enumerate(HOSTILE):
        for frame in (
            {"type": "user_message", "content": text},
            {"type": "reasoning", "token": text},
            {"type": "tool_call", "call_id": "c", "tool_name": text, "arguments": {text: text}},
            {"type": "tool_result", "call_id": "c", "result": text},
            {"type": text, "more": text},
            {"type": "assistant_message", "token": text, "is_final": False},
            {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": text[:100]},
        ):
            frames.append(json.dumps({**frame, "turn_id": f"t{number}", "offset": len(frames) + 1}))
    chat = await open_before(tab, site.http_url, welcome(offset=0), *frames)
    await expect(chat.turns).to_have_count(len(HOSTILE))
    await expect(chat.turns.last).to_have_attribute("data-phase", "ended")
    await chat.page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true; })")
    assert await chat.page.evaluate("window.isHacked") is None
    assert (
        await chat.page.locator("#turns :is(script, img, iframe, object, embed, svg, form, style, [style])").count()
        == 0
    )


# While it streams.


async def draw_in_pieces(page: Page, text: str) -> list[str]:
    return [await _drawn(page, text[:end]) for end in range(1, len(text) + 1)]


async def _drawn(page: Page, text: str) -> str:
    await page.evaluate(DRAW, text)
    shown: str = await page.evaluate("() => window.view_.element.innerText")
    return shown


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("some **bold words** here", "**"),
        ("some `code of it` here", "`"),
        ("see [the page](https://example.com/x) there", "["),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", "|"),
        ("para\n\n- item one\n- item two", "- "),
        ("```python\nx = 1\n```\n\nend", "`"),
        ("# Heading\n\ntext", "#"),
        ("~~struck through~~ text", "~"),
    ],
)
async def test_marks_never_show_while_it_is_written(drawing: Page, text: str, never: str) -> None:
    shown = await draw_in_pieces(drawing, text)
    assert [one for one in shown if never in one] == []


async def test_text_in_pieces_looks_as_the_whole_at_its_end(chat: ChatPage) -> None:
    await chat.ask("~~~py\nif x:\n~~~\n\n$x$")  # both are loaded
    for end in range(1, len(EVERY_FORM), 3):
        await chat.page.evaluate(DRAW, EVERY_FORM[:end])
    await chat.page.evaluate(END, EVERY_FORM)
    await expect(chat.page.locator("#turns > .text math")).to_have_count(3)
    await expect(chat.page.locator("#turns > .text .hljs-keyword").first).to_be_visible()
    in_pieces = await chat.page.evaluate(SHOWN)
    await chat.page.evaluate("window.view_ = undefined")
    await chat.page.evaluate(DRAW, "")
    await chat.page.evaluate(END, EVERY_FORM)
    await expect(chat.page.locator("#turns > .text").last.locator("math")).to_have_count(3)
    await expect(chat.page.locator("#turns > .text").last.locator(".hljs-keyword").first).to_be_visible()
    assert in_pieces == await chat.page.evaluate(SHOWN)


async def test_only_the_last_block_changes_while_it_is_written(chat: ChatPage) -> None:
    changed = await chat.page.evaluate(
        """async text => {
            const { TextView } = await import('/static/relay/chat-text.js');
            const view = new TextView();
            let changed = 0;
            new MutationObserver(() => {}).observe(view.element, { childList: true });
            for (let end = 1; end <= text.length; end++) {
                const before = [...view.element.children].slice(0, -1);
                const marks = before.map(block => block.outerHTML);
                view.show(text.slice(0, end), false);
                before.forEach((block, index) => {
                    if (view.element.children[index] !== block || block.outerHTML !== marks[index]) changed++;
                });
            }
            return changed;
        }""",
        "one\n\n## two\n\n- three\n- four\n\n> five\n\nsix\n\n1. seven\n\n   eight\n\nend",
    )
    assert changed == 0


async def test_selection_in_a_growing_block_stays(chat: ChatPage) -> None:
    await chat.page.evaluate(DRAW, "```\nselect me\n")
    await chat.page.evaluate("getSelection().selectAllChildren(document.querySelector('#turns pre code'))")
    await chat.page.evaluate(DRAW, "```\nselect me\nand more\nof it")
    assert "select me" in await chat.page.evaluate("getSelection().toString()")


async def test_link_that_is_defined_at_the_end_is_drawn_at_the_end(chat: ChatPage) -> None:
    turn = await chat.ask("See [the page].\n\nmore\n\n[the page]: https://example.com/")
    await expect(turn.get_by_role("link", name="the page")).to_have_attribute("href", "https://example.com/")


# For everybody.


async def test_answer_is_said_in_words_and_each_sentence_once(chat: ChatPage) -> None:
    await chat.page.evaluate(
        """() => {
            window.said_ = [];
            new MutationObserver(changes => changes.forEach(({ addedNodes }) =>
                addedNodes.forEach(node => said_.push(node.textContent)))).observe(announcer, { childList: true });
        }"""
    )
    await chat.ask(
        "# Title\n\nOne **bold** sentence. And `two`!\n\n- a\n- b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n"
        "```python\na\nb\n```\n\nThe value $x^2$ is it."
    )
    said = await chat.page.evaluate("said_")
    assert " ".join(said) == (
        "Title One bold sentence. And two! a b x, y. 1, 2. Code, python, 2 lines. The value formula is it."
    )
