; What a Python file defines, uses and imports. A capture's name is the definition's kind.

(class_definition name: (identifier) @name body: (_)? @body) @class
(function_definition name: (identifier) @name body: (_)? @body) @function

(module
  (expression_statement
    (assignment left: (identifier) @name) @constant)
  (#match? @name "^_?[A-Z][A-Z0-9_]*$"))
(module (type_alias_statement left: (type (identifier) @name)) @type)

(call function: (identifier) @reference)
(attribute attribute: (identifier) @reference)
(class_definition superclasses: (argument_list [
  (identifier) @reference
  (subscript value: (identifier) @reference)
  (keyword_argument value: (identifier) @reference)]))
(type [
  (identifier) @reference
  (generic_type (identifier) @reference)
  (binary_operator (identifier) @reference)
  (binary_operator (subscript value: (identifier) @reference))
  (subscript value: (identifier) @reference)
  (subscript subscript: (identifier) @reference)
  (attribute object: (identifier) @reference)])
(decorator [(identifier) @reference (attribute object: (identifier) @reference)])
(except_clause (identifier) @reference)
(import_from_statement name: [
  (dotted_name (identifier) @reference)
  (aliased_import name: (dotted_name (identifier) @reference))])

(import_statement) @import
(import_from_statement) @import
(future_import_statement) @import
