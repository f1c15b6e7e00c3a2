"""What JavaScript's and TypeScript's specifiers mean."""

from __future__ import annotations

import pytest

from fairlead.workspace.imports import TreeIndex, resolve

MANIFESTS = {
    "tsconfig.json": b"""{
        // Comments and commas too many are what people write here.
        "compilerOptions": {
            "baseUrl": ".", /* here */
            "paths": {
                "@/*": ["web/src/*"],
                "@/special/*": ["web/other/*"],
                "exact": ["web/src/exact.ts"],
                "url//not-a-comment": ["web/src/app.ts"],
            },
        },
    }""",
    "web/tsconfig.json": b'{"extends": "../tsconfig.json", "compilerOptions": {"strict": true}}',
    "packages/ui/package.json": b'{"name": "@shop/ui", "main": "dist/index.js"}',
    "packages/log/package.json": b'{"name": "log", "main": "lib/main.js", "types": 5}',
    "packages/broken/package.json": b'{"name": "broken", ',
    "packages/list/package.json": b'["name"]',
}
TREE = TreeIndex(
    [
        *MANIFESTS,
        "web/src/app.ts",
        "web/src/exact.ts",
        "web/src/view.tsx",
        "web/src/data.json",
        "web/src/parts/index.ts",
        "web/src/parts/button.jsx",
        "web/src/types.d.ts",
        "web/src/old.cjs",
        "web/other/thing.ts",
        "web/src/special/thing.ts",
        "packages/ui/src/index.ts",
        "packages/ui/src/button.tsx",
        "packages/ui/theme/dark.ts",
        "packages/log/lib/main.js",
        "index.js",
    ],
    MANIFESTS,
)
APP = "web/src/app.ts"


@pytest.mark.parametrize(
    ("path", "text", "file"),
    [
        (APP, "./exact", "web/src/exact.ts"),
        (APP, "./exact.ts", "web/src/exact.ts"),
        (APP, "./exact.js", "web/src/exact.ts"),
        (APP, "./view.js", "web/src/view.tsx"),
        (APP, "./view", "web/src/view.tsx"),
        (APP, "./parts", "web/src/parts/index.ts"),
        (APP, "./parts/", "web/src/parts/index.ts"),
        (APP, "./parts/button", "web/src/parts/button.jsx"),
        (APP, "./types", "web/src/types.d.ts"),
        (APP, "./old", "web/src/old.cjs"),
        (APP, "./data.json", "web/src/data.json"),
        (APP, "./data.json?raw", "web/src/data.json"),
        (APP, "../other/thing", "web/other/thing.ts"),
        ("web/src/parts/index.ts", "..", None),
        ("web/src/parts/index.ts", ".", "web/src/parts/index.ts"),
        ("web/x.ts", "..", "index.js"),
        (APP, "../../../outside", None),
        (APP, "./nothing", None),
        # Aliases of the directory above, since the nearest configuration has none.
        (APP, "@/view", "web/src/view.tsx"),
        (APP, "@/special/thing", "web/other/thing.ts"),
        (APP, "exact", "web/src/exact.ts"),
        (APP, "url//not-a-comment", "web/src/app.ts"),
        (APP, "web/other/thing", "web/other/thing.ts"),
        (APP, "@/nothing", None),
        # Packages of the tree: what is built is not there, what it is built of is.
        (APP, "@shop/ui", "packages/ui/src/index.ts"),
        (APP, "@shop/ui/button", "packages/ui/src/button.tsx"),
        (APP, "@shop/ui/theme/dark", "packages/ui/theme/dark.ts"),
        (APP, "log", "packages/log/lib/main.js"),
        (APP, "react", None),
        (APP, "@other/ui", None),
        (APP, "broken", None),
        (APP, "", None),
        (APP, "node:fs", None),
    ],
)
def test_specifier(path: str, text: str, file: str | None) -> None:
    assert resolve(path, "typescript", text, TREE) == (() if file is None else (file,))


@pytest.mark.parametrize("language", ["javascript", "typescript", "tsx"])
def test_all_of_its_languages(language: str) -> None:
    assert resolve(APP, language, "./exact", TREE) == ("web/src/exact.ts",)


def test_shared_configuration_is_overridden_by_the_directory_s_own() -> None:
    manifests = {
        "tsconfig.base.json": b'{"compilerOptions": {"paths": {"lib": ["one.ts"]}}}',
        "tsconfig.json": b'{"extends": "./tsconfig.base.json"}',
        "sub/tsconfig.json": b'{"compilerOptions": {"paths": {"lib": ["two.ts"]}}}',
    }
    tree = TreeIndex(["one.ts", "sub/two.ts", "sub/x.ts", "x.ts"], manifests)

    assert resolve("x.ts", "typescript", "lib", tree) == ("one.ts",)
    assert resolve("sub/x.ts", "typescript", "lib", tree) == ("sub/two.ts",)


@pytest.mark.parametrize(
    "options",
    [
        b'{"compilerOptions": {"paths": ["a"]}}',
        b'{"compilerOptions": {"paths": {"a": "b"}}}',
        b'{"compilerOptions": {"paths": {"a": [1, null]}, "baseUrl": 7}}',
        b'{"compilerOptions": {"baseUrl": "../../.."}}',
        b'{"compilerOptions": 5}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_configuration_that_is_none(options: bytes) -> None:
    tree = TreeIndex(["x.ts", "y.ts"], {"tsconfig.json": options})

    assert resolve("x.ts", "typescript", "a", tree) == ()
    assert resolve("x.ts", "typescript", "./y", tree) == ("y.ts",)
