"""What the imports of Go, Rust, Java, C, C++ and Ruby mean."""

from __future__ import annotations

import pytest

from fairlead.workspace.imports import TreeIndex, is_manifest, resolve

GO = TreeIndex(
    ["main.go", "store/db.go", "store/db_test.go", "store/cache.go", "store/x.txt", "build/t.go"],
    {
        "go.mod": b"// Deprecated: no\nmodule example.org/shop\n\ngo 1.23\n",
        "build/go.mod": b'module "example.org/shop/tools"\n',
        "broken/go.mod": b"modul\xff example",
    },
)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("example.org/shop/store", ["store/cache.go", "store/db.go"]),
        ("example.org/shop", ["main.go"]),
        ("example.org/shop/tools", ["build/t.go"]),
        ("example.org/shop/nothing", []),
        ("example.org/shopping", []),
        ("fmt", []),
        ("", []),
    ],
)
def test_go(text: str, files: list[str]) -> None:
    assert list(resolve("main.go", "go", text, GO)) == files


RUST = TreeIndex(
    [
        "app/src/main.rs",
        "app/src/cart.rs",
        "app/src/cart/item.rs",
        "app/src/money/mod.rs",
        "app/src/money/rate.rs",
        "app/src/type.rs",
        "app/tests/it.rs",
        "app/tests/common/mod.rs",
        "my-lib/src/lib.rs",
        "my-lib/src/deep.rs",
        "named/src/lib.rs",
    ],
    {
        "app/Cargo.toml": b'[package]\nauthors = ["A"]\nname = "app"\n',
        "my-lib/Cargo.toml": b'[package]\nname = "my-lib"\nversion = "1.0"\n',
        "named/Cargo.toml": b'[package]\nname = "named-package"\n[lib]\nname = "other"\n',
        "Cargo.toml": b'[workspace]\nmembers = ["app"]\n',
        "broken/Cargo.toml": b"[package\nname",
        "odd/Cargo.toml": b'package = "text"\n[lib]\nname = 5\n',
    },
)
MAIN, CART, ITEM = "app/src/main.rs", "app/src/cart.rs", "app/src/cart/item.rs"
MONEY, RATE, LIB = "app/src/money/mod.rs", "app/src/money/rate.rs", "my-lib/src/lib.rs"


@pytest.mark.parametrize(
    ("path", "text", "file"),
    [
        (MAIN, "mod cart", CART),
        (MAIN, "mod money", MONEY),
        (MAIN, "mod r#type", "app/src/type.rs"),
        (MAIN, "mod nothing", None),
        (CART, "mod item", ITEM),
        (MONEY, "mod rate", RATE),
        ("app/tests/it.rs", "mod common", "app/tests/common/mod.rs"),
        (ITEM, "crate::money::Rate", MONEY),
        (ITEM, "crate::money::rate::Rate", RATE),
        (ITEM, "crate::Something", MAIN),
        (ITEM, "super::Cart", CART),
        (ITEM, "super::super::money::rate::X", RATE),
        (RATE, "super::Money", MONEY),
        (RATE, "super::*", MONEY),
        (CART, "self::item::Item", ITEM),
        (MAIN, "cart::item::Item", ITEM),
        (MAIN, "my_lib::deep::Thing", "my-lib/src/deep.rs"),
        (MAIN, "my_lib::Thing", LIB),
        (MAIN, "other::Thing", "named/src/lib.rs"),
        ("app/tests/it.rs", "app::cart::Cart", CART),
        (MAIN, "std::collections::HashMap", None),
        (MAIN, "", None),
        ("loose.rs", "crate::x", None),
        ("loose.rs", "super::super::super::x", None),
    ],
)
def test_rust(path: str, text: str, file: str | None) -> None:
    assert resolve(path, "rust", text, RUST) == (() if file is None else (file,))


JAVA = TreeIndex(
    [
        "core/src/main/java/org/shop/Cart.java",
        "core/src/main/java/org/shop/Item.java",
        "core/src/main/java/org/shop/readme.txt",
        "core/src/test/java/org/shop/CartTest.java",
        "web/src/main/java/org/shop/web/Page.java",
        "web/src/main/java/org/shop/Item.java",
        "org/top/Root.java",
    ],
    {},
)
PAGE = "web/src/main/java/org/shop/web/Page.java"
CORE = "core/src/main/java/org/shop"


@pytest.mark.parametrize(
    ("path", "text", "files"),
    [
        (PAGE, "org.shop.Cart", [f"{CORE}/Cart.java"]),
        (PAGE, "org.shop.Item", ["web/src/main/java/org/shop/Item.java"]),
        (f"{CORE}/Cart.java", "org.shop.Item", [f"{CORE}/Item.java"]),
        (PAGE, "org.shop.Cart.Line", [f"{CORE}/Cart.java"]),
        (PAGE, "org.shop.Cart.*", [f"{CORE}/Cart.java"]),
        (PAGE, "static org.shop.Cart.total", [f"{CORE}/Cart.java"]),
        (PAGE, "static org.shop.Cart.*", [f"{CORE}/Cart.java"]),
        (PAGE, "org.top.*", ["org/top/Root.java"]),
        (
            "org/top/Root.java",
            "org.shop.web.*",
            [PAGE],
        ),
        (PAGE, "java.util.List", []),
        (PAGE, "java.util.*", []),
        (PAGE, "", []),
        (PAGE, "*", []),
        (PAGE, ".*", []),
    ],
)
def test_java(path: str, text: str, files: list[str]) -> None:
    assert list(resolve(path, "java", text, JAVA)) == files


def test_java_package_in_several_roots() -> None:
    found = resolve("org/top/Root.java", "java", "org.shop.*", JAVA)

    assert set(found) == {
        f"{CORE}/Cart.java",
        f"{CORE}/Item.java",
        "core/src/test/java/org/shop/CartTest.java",
        "web/src/main/java/org/shop/Item.java",
    }


INCLUDES = TreeIndex(
    [
        "src/a.c",
        "src/a.h",
        "include/shop/cart.h",
        "old/include/shop/cart.h",
        "lib/x.rb",
        "lib/y.rb",
    ],
    {},
)


@pytest.mark.parametrize(
    ("language", "path", "text", "file"),
    [
        ("c", "src/a.c", "a.h", "src/a.h"),
        ("c", "src/a.c", "../include/shop/cart.h", "include/shop/cart.h"),
        ("cpp", "src/a.c", "shop/cart.h", "include/shop/cart.h"),
        ("cpp", "old/b.cpp", "shop/cart.h", "old/include/shop/cart.h"),
        ("c", "src/a.c", "art.h", None),
        ("c", "src/a.c", "../../../a.h", "src/a.h"),
        ("c", "src/a.c", "..", None),
        ("c", "src/a.c", "", None),
        ("ruby", "lib/x.rb", "y", "lib/y.rb"),
        ("ruby", "lib/x.rb", "./y.rb", "lib/y.rb"),
        ("ruby", "lib/x.rb", "../../y", None),
        ("bash", "lib/x.sh", "y", None),
        (None, "lib/x", "y", None),
    ],
)
def test_include(language: str | None, path: str, text: str, file: str | None) -> None:
    assert resolve(path, language, text, INCLUDES) == (() if file is None else (file,))


def test_manifests_are_known_by_their_names() -> None:
    assert is_manifest("a/go.mod")
    assert is_manifest("Cargo.toml")
    assert not is_manifest("go.mod/x")
    assert not is_manifest("my-package.json")
