"""Texts of agents: every form of Markdown, and markup that must stay without effect."""

from __future__ import annotations

from typing import Final

EVERY_FORM: Final = r"""# A plan for the week

Some **bold**, *slanted*, ~~struck~~ words, `inline code`, a [link](https://example.com/a?b=c) and https://example.org/bare.

## Lists

1. First
   - inner one
   - inner two

     with a second paragraph
2. Second

- [x] done
- [ ] to do

> A quote, **strong**,
> over two lines.
>
> > and one within.

| Name | Price | Note |
|:-----|------:|:----:|
| Tea  |  3.50 | `hot` |
| Cake | 4.00 | **good** |

```python
def greet(name: str) -> str:
    # say hello
    return f"Hello, {name}! {1 + 2}"
```

~~~
no language
~~~

Inline math $e^{i\pi} + 1 = 0$ costs $5 and $6, and \(a \ne b\).

$$
\int_0^1 x^2 \, dx = \frac{1}{3}
$$

![a picture](https://example.com/cat.png)

---

### Deeper

The end.
"""

# Each would set `window.isHacked`, load something or navigate, if any of it became markup that acts.
HOSTILE: Final = [
    "<script>window.isHacked = 1</script>",
    "<img src=x onerror=window.isHacked=1>",
    "<svg onload=window.isHacked=1>",
    "<svg><script>window.isHacked=1</script></svg>",
    "<iframe srcdoc='<script>parent.isHacked=1</script>'></iframe>",
    "<iframe src=javascript:parent.isHacked=1></iframe>",
    "<object data=javascript:window.isHacked=1></object>",
    "<embed src=javascript:window.isHacked=1>",
    "<details open ontoggle=window.isHacked=1>x</details>",
    "<body onload=window.isHacked=1>",
    "<input autofocus onfocus=window.isHacked=1>",
    "<video><source onerror=window.isHacked=1></video>",
    "<a href=javascript:window.isHacked=1>x</a>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.isHacked=1>",
    "<form action=javascript:window.isHacked=1><button>x</button></form>",
    "<style>*{background:url(/hacked)}</style>",
    "<link rel=stylesheet href=/hacked>",
    "<meta http-equiv=refresh content='0;url=/hacked'>",
    "<base href=https://example.com/>",
    "[x](javascript:window.isHacked=1)",
    "[x](JaVaScRiPt:window.isHacked=1)",
    "[x](java\tscript:window.isHacked=1)",
    "[x](&#106;avascript:window.isHacked=1)",
    "[x](\x01javascript:window.isHacked=1)",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html,<script>window.isHacked=1</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD53aW5kb3cuaXNIYWNrZWQ9MTwvc2NyaXB0Pg==)",
    "[x](file:///etc/passwd)",
    "[x](//example.com/hacked)",
    "[x](/admin/logout/)",
    '[x](https://example.com/"onmouseover="window.isHacked=1)',
    '[x](https://example.com "title\\" onmouseover=\\"window.isHacked=1")',
    "<javascript:window.isHacked=1>",
    "![x](javascript:window.isHacked=1)",
    "![x](https://example.com/hacked.png)",
    "![x](/hacked.png)",
    "![x](data:image/svg+xml,<svg onload=window.isHacked=1>)",
    '![x" onerror="window.isHacked=1](x)',
    "[x]: javascript:window.isHacked=1\n\n[x]",
    "```<img src=x onerror=window.isHacked=1>\ncode\n```",
    '```" onmouseover="window.isHacked=1\ncode\n```',
    "```html\n<script>window.isHacked=1</script><img src=x onerror=window.isHacked=1>\n```",
    "```javascript\nconst x = `</span><img src=x onerror=window.isHacked=1>`;\n```",
    "`<img src=x onerror=window.isHacked=1>`",
    "| <img src=x onerror=window.isHacked=1> |\n|---|\n| <script>window.isHacked=1</script> |",
    "|a|\n|:-:onmouseover=window.isHacked=1|\n|b|",
    r"$\href{javascript:window.isHacked=1}{x}$",
    r"$\url{javascript:window.isHacked=1}$",
    r"$\includegraphics{https://example.com/hacked.png}$",
    r"$\htmlStyle{background:url(/hacked)}{x}$",
    r"$\htmlData{onclick=window.isHacked=1}{x}$",
    r"$\text{<img src=x onerror=window.isHacked=1>}$",
    r"$\def\a{\a\a}\a$",
    r"$\undefined{<script>window.isHacked=1</script>}$",
    "$$\n<script>window.isHacked=1</script>\n$$",
    "&lt;script&gt;window.isHacked=1&lt;/script&gt;",
    "&#60;img src=x onerror=window.isHacked=1&#62;",
    "# <svg/onload=window.isHacked=1>",
    "> <img src=x onerror=window.isHacked=1>",
    "- <img src=x onerror=window.isHacked=1>\n- [ ] <script>window.isHacked=1</script>",
    "<!--><img src=x onerror=window.isHacked=1>-->",
    "<![CDATA[><img src=x onerror=window.isHacked=1>]]>",
    "\u202e<script>window.isHacked=1</script>",
    "__proto__ [constructor](https://example.com) {{constructor.constructor('window.isHacked=1')()}}",
]
