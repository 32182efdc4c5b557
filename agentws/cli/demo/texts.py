"""What the demo agent says."""

from __future__ import annotations

from typing import Final

PACE: Final = 0.03
"""Seconds between words: as fast as a hosted model writes."""

INTRO: Final = """\
I am the demo agent. Type one of these words:

- `markdown` – an answer with everything in it
- `long` – a long answer: stop it, reload the page, or open it in a second tab
- `steer` – a slow answer: send a message meanwhile, to steer it or to wait in the queue
- `tool` – a tool call with its progress and its result
- `parallel` – three calls at once, one of which fails
- `approve` – a call that you approve, deny or edit
- `ask` – a question with choices
- `form` – a question with a form
- `locate` – a tool that your client has, or has not
- `reason` – reasoning before the answer
- `sources` – an answer with its sources
- `chart` – a structured part, which changes
- `state` – a list that you and I share
- `file` – a file that I make; send me one, too
- `delegate` – another agent works for me
- `handoff` – another agent takes over; `@poet hello` asks it once
- `error` – a run that fails
- `demo` – this list

`/help` lists the commands; `/roll 20` and `/count` are mine. Edit a message, or have it answered \
again, to begin a branch. Anything else is a chat.
"""

INSTRUCTIONS: Final = (
    "You are the demo agent of agentws, a gateway that puts agents behind a WebSocket. "
    "Be brief and friendly, and write Markdown. The user may type `demo` to see what you can show."
)

MARKDOWN: Final = """\
## What an answer can hold

Text with *emphasis*, **strong** words, `code` and a [link](https://example.com).

1. Lists with numbers
2. and lists within:
   - one
   - two

| wire | for |
|---|---|
| native | pages and apps |
| simple | everything else |

```python
class Echo(Agent):
    async def run(self, ctx):
        for word in ctx.text.split():
            yield word + " "
```

> Reload this page while it is still being written: it goes on where it was.
"""

CHAPTERS: Final = 40
CHAPTER: Final = (
    "**{number} of {total}.** This paragraph is part of a long answer. Close the page, cut the "
    "network or open a second tab: the run goes on, and every word of it is waiting.\n\n"
)
