; What elements within JavaScript and TypeScript use.

(jsx_opening_element name: (identifier) @reference)
(jsx_self_closing_element name: (identifier) @reference)
(jsx_expression (identifier) @reference)
