"""What is found in a file of each language: the fixtures against tables read by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.workspace.base import FileAnalysis
from fairlead.workspace.symbols import analyse

FIXTURES = Path(__file__).parents[2] / "fixtures" / "workspace"

DEFINITIONS = {
    "bash/sample.sh": """
2 0 constant MAX_SIZE | MAX_SIZE=10
3 0 constant NAME | readonly NAME="app"
5 0 function helper | helper()
10 0 function main | function main
""",
    "c/sample.c": """
4 0 macro MAX_SIZE | #define MAX_SIZE 10
5 0 macro TWICE | #define TWICE(x) ((x) + (x))
7 0 struct store | struct store
10 0 type store_t | store_t
12 0 enum colour | enum colour
14 0 type handler | typedef int (*handler)(store_t *)
16 0 function helper | static int helper(int size)
18 0 function store_load | char *store_load(store_t *store, const char *key, int limit)
25 0 function helper | static int helper(int size)
""",
    "c_sharp/Sample.cs": """
4 0 module App | namespace App
7 1 class Sample | public class Sample<T> : Base<T>, IReader where T : class
9 2 constant MaxSize | public const int MaxSize = 10
12 2 constructor Sample | public Sample(Store store)
14 2 property Size | public int Size
17 2 method Read | public async Task<T> Read(string key, Options options)
21 3 function Local | int Local(int x)
26 1 interface IReader | public interface IReader
26 2 method Close | Task Close()
27 1 struct Point | public struct Point
28 1 class Pair | public record Pair(int A, int B)
29 1 enum Colour | public enum Colour
30 1 type Handler | public delegate void Handler(Sample<int> sample)
""",
    "cpp/sample.cpp": """
4 0 module app | namespace app
7 1 class Store | class Store : public Base<T>
9 2 method Store | explicit Store(Reader& reader) : reader_(reader)
10 2 method ~Store | ~Store()
11 2 method load | T load(const std::string& key) const
12 2 method first | const T& first() const
13 2 method operator== | bool operator==(const Store& other) const
19 1 struct Point | struct Point
20 1 enum Colour | enum class Colour
21 1 type Key | using Key = std::string
23 1 function helper | int helper(int size)
27 0 method read | int app::Reader::read(const Key& key, int limit)
33 0 function main | int main()
""",
    "go/sample.go": """
8 0 constant MaxSize | MaxSize = 10
10 0 variable Default | Default = New(MaxSize)
12 0 type Key | type Key string
14 0 interface Reader | type Reader interface
15 1 method Read | Read(key Key) ([]byte, error)
18 0 struct Store | type Store struct
23 0 function New | func New(size int) *Store
27 0 method Load | func (s *Store) Load(key Key, deep bool) ([]byte, error)
""",
    "java/Sample.java": """
8 0 class Sample | public class Sample<T> extends Base<T> implements Reader
9 1 constant MAX_SIZE | public static final int MAX_SIZE = 10
12 1 constructor Sample | public Sample(Store store)
17 1 method read | public List<T> read(String key, int limit) throws IOException
23 1 enum Colour | enum Colour
25 1 class Point | record Point(int x, int y)
28 0 interface Reader | interface Reader
29 1 method read | List<?> read(String key, int limit) throws IOException
""",
    "javascript/sample.js": """
5 0 function lazy | lazy = () =>
7 0 constant MAX_SIZE | MAX_SIZE = 10
8 0 function view | view = function (a)
11 0 class Store | class Store extends Base
13 1 method constructor | constructor(options)
14 1 method load | async load(key, { deep = false } = {})
17 1 method of | static of()
20 0 function main | function main(first, ...rest)
24 1 function inner | function inner()
27 0 function numbers | function* numbers()
28 0 function run | module.exports.run = function ()
""",
    "kotlin/Sample.kt": """
5 0 variable MAX_SIZE | const val MAX_SIZE = 10
6 0 type Key | typealias Key = String
8 0 interface Readable | interface Readable
9 1 method read | fun read(key: Key): Item?
13 0 class Store | data class Store<T>(val reader: Reader) : Base<T>(), Readable
14 1 method read | override fun read(key: Key): Item?
21 1 method of | fun of(): Store<Int>
25 0 object Registry | object Registry
27 0 class Colour | enum class Colour
29 0 function helper | fun helper(x: Int): Int
""",
    "lua/sample.lua": """
5 0 function helper | local function helper(x)
9 0 function open | function M.open(path, limit)
13 0 method close | function M:close()
17 0 function run | M.run = function(a, b)
""",
    "php/sample.php": """
6 0 constant MAX_SIZE | const MAX_SIZE = 10
8 0 interface Readable | interface Readable
8 1 method read | public function read(string $key): ?Item
10 0 trait Counts | trait Counts
12 0 enum Colour | enum Colour
15 0 class Store | final class Store extends Base implements Readable
19 1 method __construct | public function __construct(private Reader $reader)
21 1 method read | public function read(string $key, int $limit = 1): ?Item
29 0 function helper | function helper(int $x): int
""",
    "python/sample.py": """
8 0 constant MAX_SIZE | MAX_SIZE: int = 10
9 0 constant _T | _T
14 0 class A | class A(Base, Generic[T], metaclass=Meta):
19 1 method size | def size(self, *, a: int = 1, b: list[Thing] | None = None) -> Size:
22 2 function inner | def inner():
25 0 function main | async def main():
26 0 type Alias | type Alias = int
""",
    "ruby/sample.rb": """
4 0 module App | module App
5 1 constant MAX_SIZE | MAX_SIZE = 10
7 1 class Store | class Store < Base::Record
10 2 method initialize | def initialize(reader, limit: 1)
14 2 method open | def self.open(path)
18 2 method empty? | def empty?
24 0 method main | def main
""",
    "rust/sample.rs": """
6 0 constant MAX_SIZE | pub const MAX_SIZE: usize = 10
7 0 constant NAME | static NAME: &str = "a"
8 0 type Key | pub type Key = String
11 0 struct Cache | pub struct Cache<T>
15 0 enum Colour | pub enum Colour
17 0 trait Reader | pub trait Reader
18 1 type Item | type Item
19 1 method read | fn read(&self, key: &Key) -> Option<Self::Item>
22 0 impl Cache | impl<T: Clone> Reader for Cache<T>
23 1 type Item | type Item = T
24 1 method read | fn read(&self, key: &Key) -> Option<T> where T: Clone
32 0 macro twice | macro_rules! twice
36 0 module tests | mod tests
37 1 function check | fn check() -> usize
""",
    "scala/Sample.scala": """
5 0 trait Readable | trait Readable
6 1 method read | def read(key: String): Option[Item]
9 0 class Store | case class Store[T](reader: Reader) extends Base[T] with Readable
10 1 type Key | type Key = String
12 1 method read | override def read(key: String): Option[Item]
19 0 object Registry | object Registry
20 1 constant MaxSize | val MaxSize = 10
21 1 method helper | def helper(x: Int): Store[Int]
24 0 enum Colour | enum Colour
""",
    "swift/sample.swift": """
3 0 variable maxSize | let maxSize = 10
4 0 type Key | typealias Key = String
6 0 protocol Readable | protocol Readable
7 1 method read | func read(key: Key) -> Item?
10 0 struct Point | struct Point
12 0 enum Colour | enum Colour
14 0 class Store | class Store<T>: Base, Readable
17 1 constructor init | init(reader: Reader)
21 1 method read | func read(key: Key, limit: Int = 1) -> Item?
27 0 extension Store | extension Store
28 1 method close | func close()
31 0 function helper | func helper(_ x: Int) -> Int
""",
    "tsx/sample.tsx": """
3 0 interface Props | interface Props
5 0 function Panel | Panel = ({ title }: Props) =>
9 0 function Page | function Page(props: Props): JSX.Element
""",
    "typescript/sample.ts": """
5 0 interface Shape | interface Shape<T> extends Base<T>
6 1 method area | area(scale: number): number
9 0 type Key | type Key = string | number
10 0 enum Colour | enum Colour
11 0 module Inner | namespace Inner
12 1 function helper | function helper(): void
14 0 class Store | abstract class Store<K extends Key> extends Root implements Shape<K>
15 1 method constructor | constructor(private readonly reader: Reader)
16 1 method open | abstract open(path: string): Promise<void>
17 1 method size | get size(): number
19 0 function outside | function outside(x: Colour): Key
20 0 constant DEFAULT_KEY | DEFAULT_KEY: Key = "a"
21 0 function make | make = <K extends Key>(key: K): Store<K> =>
""",
}
"""Of each file: line, depth, kind, name and signature."""

IMPORTS = {
    "python/sample.py": ["__future__:annotations", "os.path", "sys", ".:sibling", "..x:y,z", "m:*"],
    "javascript/sample.js": ["react", "./path.js", "../thing", "fs", "./lazy"],
    "typescript/sample.ts": ["./reader", "fs", "./all"],
    "tsx/sample.tsx": ["./button"],
    "go/sample.go": ["fmt", "example.org/app/store"],
    "rust/sample.rs": [
        "mod store",
        "std::collections::HashMap",
        "std::collections::hash_map",
        "std::collections::hash_map::Entry",
        "crate::reader::*",
        "self::store::Store",
    ],
    "java/Sample.java": ["java.util.List", "java.io.*", "static org.example.Tools.join"],
    "c/sample.c": ["store/reader.h"],
    "cpp/sample.cpp": ["reader.hpp"],
    "ruby/sample.rb": ["lib/reader"],
}
"""Files that are not named have none."""

USED = {
    "python/sample.py": "deco Base Generic Meta Thing Size helper other size A run sibling y z",
    "javascript/sample.js": "Base Reader read tag View MAX_SIZE inner state numbers Store",
    "typescript/sample.ts": "Base Root Shape Reader Promise Colour build count",
    "tsx/sample.tsx": "Button Props press Panel title",
    "go/sample.go": "Println Open reader Read Store New",
    "rust/sample.rs": "HashMap Reader Clone cloned entries twice derive Entry",
    "java/Sample.java": "Base Reader Service Override load join MAX Limits List",
    "c/sample.c": "reader_read helper TWICE printf reader reader_t store_t",
    "cpp/sample.cpp": "Base Reader vector string same make Point helper size",
    "c_sharp/Sample.cs": "Base IReader Task Store Load Key Of Local Serializable",
    "ruby/sample.rb": "Reader Base Record Store Comparable zero? open first",
    "php/sample.php": "Reader Base Readable Counts Item Key Options load helper Service",
    "kotlin/Sample.kt": "Reader Base Readable Item load helper Service Store",
    "swift/sample.swift": "Reader Base Readable Item load helper Point",
    "scala/Sample.scala": "Reader Base Readable Option load helper Registry Store make",
    "lua/sample.lua": "reader read helper open close M",
    "bash/sample.sh": "helper sort main MAX_SIZE size",
}

UNUSED = {
    "python/sample.py": "inner main Alias LIMIT key lower MAX_SIZE",
    "javascript/sample.js": "main view load first rest",
    "go/sample.go": "Load Default deep",
    "rust/sample.rs": "Colour check NAME",
    "java/Sample.java": "Sample Point Colour RED",
    "c/sample.c": "store_load colour handler store",
    "swift/sample.swift": "Store Colour close",
    "lua/sample.lua": "run limit",
}
"""Names that a file defines, or has as variables, and does not use."""


def analysis(name: str) -> FileAnalysis:
    return analyse(name, (FIXTURES / name).read_bytes())


def test_every_fixture_has_a_table() -> None:
    files = {str(path.relative_to(FIXTURES)) for path in FIXTURES.rglob("*") if path.is_file()}

    assert files == set(DEFINITIONS) == set(USED)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_definitions(name: str) -> None:
    found = analysis(name)

    lines = [
        f"{each.line} {each.depth} {each.kind} {each.name} | {each.signature}"
        for each in found.definitions
    ]
    assert lines == DEFINITIONS[name].strip().splitlines()
    assert not found.is_broken
    assert found.language == name.partition("/")[0]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_imports(name: str) -> None:
    assert list(analysis(name).imports) == IMPORTS.get(name, [])


@pytest.mark.parametrize("name", USED)
def test_the_references(name: str) -> None:
    references = analysis(name).references

    assert set(USED[name].split()) <= set(references)
    assert not set(UNUSED.get(name, "").split()) & set(references)
