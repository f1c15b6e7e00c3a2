"""What Python's imports mean in trees of different layouts."""

from __future__ import annotations

import pytest

from fairlead.workspace.imports import TreeIndex, resolve

TREE = TreeIndex(
    [
        "setup.py",
        "src/shop/__init__.py",
        "src/shop/cart.py",
        "src/shop/types.py",
        "src/shop/money/__init__.py",
        "src/shop/money/rates.py",
        "src/shop/stubs.pyi",
        "src/alone.py",
        "tests/conftest.py",
        "tests/test_cart.py",
        "tests/json.py",
        "tests/deep/test_more.py",
        "plugins/vendor/tools/hammer.py",
        "libs/common/common/__init__.py",
        "libs/common/common/log.py",
        "docs/types.py",
        "docs/helper.py",
        "vendored/site/email/__init__.py",
    ],
    {},
)
CART, RATES = "src/shop/cart.py", "src/shop/money/rates.py"
SHOP, MONEY, TEST = "src/shop/__init__.py", "src/shop/money/__init__.py", "tests/test_cart.py"


@pytest.mark.parametrize(
    ("path", "text", "files"),
    [
        (TEST, "shop", [SHOP]),
        (TEST, "shop.cart", [CART]),
        (TEST, "shop.money.rates", [RATES]),
        (TEST, "shop:cart", [CART]),
        (TEST, "shop:cart,Shop", [CART, SHOP]),
        (TEST, "shop.cart:Cart", [CART]),
        (TEST, "shop.money:rates", [RATES]),
        (TEST, "shop.stubs:x", ["src/shop/stubs.pyi"]),
        (TEST, "shop:*", [SHOP]),
        # No file is meant by the last part: the package around it is.
        (TEST, "shop.nothing", [SHOP]),
        (TEST, "nothing", []),
        (TEST, "nothing.at:all", []),
        # A module in a directory of sources; a script's neighbour, also of a script further down.
        (TEST, "alone", ["src/alone.py"]),
        (TEST, "conftest", ["tests/conftest.py"]),
        ("tests/deep/test_more.py", "conftest:fixture", ["tests/conftest.py"]),
        # But not one that lies elsewhere in no package.
        (TEST, "helper", []),
        # A package's own modules are relative only: this is the standard library's.
        (CART, "types", []),
        (TEST, "types", []),
        # Unless a script has one beside it.
        (TEST, "json", ["tests/json.py"]),
        (CART, "json", []),
        (CART, "email", []),
        # Packages without files, and other projects of the same tree.
        (TEST, "vendor.tools.hammer", ["plugins/vendor/tools/hammer.py"]),
        (TEST, "vendor.tools:hammer", ["plugins/vendor/tools/hammer.py"]),
        (CART, "common.log", ["libs/common/common/log.py"]),
        # Relative ones.
        (CART, ".:money", [MONEY]),
        (CART, ".:types,VERSION", ["src/shop/types.py", SHOP]),
        (CART, ".money.rates:Rate", [RATES]),
        (RATES, "..cart:Cart", [CART]),
        (RATES, "..:cart", [CART]),
        (RATES, ".:x", [MONEY]),
        (MONEY, ".rates:x", [RATES]),
        (CART, "......:x", []),
        ("setup.py", ".:x", []),
        ("setup.py", "src.shop", [SHOP]),
    ],
)
def test_import(path: str, text: str, files: list[str]) -> None:
    assert list(resolve(path, "python", text, TREE)) == files


def test_nearest_of_two_packages_with_one_name() -> None:
    tree = TreeIndex(
        ["a/tests/__init__.py", "a/tests/tools.py", "b/tests/__init__.py", "b/tests/tools.py"], {}
    )

    assert resolve("b/tests/test_x.py", "python", "tests.tools", tree) == ("b/tests/tools.py",)
    assert resolve("a/x.py", "python", "tests.tools", tree) == ("a/tests/tools.py",)


def test_modules_at_the_root() -> None:
    tree = TreeIndex(["main.py", "store.py", "app/__init__.py", "app/views.py"], {})

    assert resolve("main.py", "python", "store", tree) == ("store.py",)
    assert resolve("app/views.py", "python", "store:Store", tree) == ("store.py",)
    assert resolve("app/views.py", "python", "app", tree) == ("app/__init__.py",)
