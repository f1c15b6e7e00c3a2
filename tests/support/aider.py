"""aider in a git repository of one file, which asks a node for its models."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from support.nodeprocess import NodeProcess, clean_environ
from support.services import require

ROOT = Path(__file__).parents[2]

BEFORE = 'def greet():\n    return "hello"\n'
AFTER = 'def greet():\n    return "good morning"\n'
COMMIT = "feat: say good morning"
ASKED = "Make the greeting say good morning"
ANSWERED = "I will change the greeting."
SCRIPT = f"""
[[rule]]
prompt_contains = "SEARCH/REPLACE"
text = '''
{ANSWERED}

greeting.py
```python
<<<<<<< SEARCH
    return "hello"
=======
    return "good morning"
>>>>>>> REPLACE
```
'''

[[rule]]
prompt_contains = "commit message"
text = "{COMMIT}"
"""
"""What the simulated upstream answers to it."""


def aider_path() -> str:
    """Where aider is; without it the test skips at home and fails where CI is set."""
    own = ROOT / ".venv-aider" / "bin" / "aider"
    return require(os.environ.get("FAIRLEAD_AIDER", str(own)), "make assistants")


class Workplace:
    """A git repository with one file, always at the same path, and aider in it."""

    def __init__(self, folder: Path, node: NodeProcess) -> None:
        self.repository = folder / "repository"
        self.file = self.repository / "greeting.py"
        self._aider = aider_path()
        home = folder / "home"
        home.mkdir()
        who = {"NAME": "Developer", "EMAIL": "developer@example.com", "DATE": "2026-01-01T00:00Z"}
        self._environ = clean_environ(home) | {
            "OPENAI_API_BASE": f"{node.url}/v1",
            "OPENAI_API_KEY": "of-the-developer",
            "ANTHROPIC_API_BASE": node.url,
            "ANTHROPIC_API_KEY": "of-the-developer",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # There is no network but the node.
            "HTTPS_PROXY": "http://127.0.0.1:1",
            "NO_PROXY": "127.0.0.1",
            **{f"GIT_AUTHOR_{key}": value for key, value in who.items()},
            **{f"GIT_COMMITTER_{key}": value for key, value in who.items()},
        }

    async def fresh(self) -> None:
        """The repository as it was at first."""
        shutil.rmtree(self.repository, ignore_errors=True)
        self.repository.mkdir()
        self.file.write_text(BEFORE)
        (self.repository / ".gitignore").write_text(".aider*\n")
        for command in ("init -q", "add .", "commit -q -m first"):
            await self.run("git", *command.split())

    async def aider(self, model: str) -> str:
        """Ask it to change the greeting; what it prints."""
        return await self.run(
            self._aider,
            *("--model", model, "--edit-format", "diff", "--map-tokens", "0"),
            *("--yes-always", "--no-pretty", "--no-fancy-input", "--no-show-model-warnings"),
            *("--no-check-update", "--no-show-release-notes", "--analytics-disable"),
            *("--message", ASKED, self.file.name),
        )

    async def run(self, *command: str) -> str:
        """Run a program in the repository; what it prints. It must succeed."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.repository,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()
