; What a JavaScript file defines, uses and imports. A capture's name is the definition's kind.

(class_declaration name: (_) @name body: (_)? @body) @class
(function_declaration name: (_) @name body: (_)? @body) @function
(generator_function_declaration name: (_) @name body: (_)? @body) @function
(method_definition name: (_) @name body: (_)? @body) @method

(program (_ (variable_declarator
  name: (identifier) @name
  value: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)]) @function))
(program (export_statement (_ (variable_declarator
  name: (identifier) @name
  value: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)]) @function)))
(variable_declarator name: (identifier) @name value: (class body: (_) @body)) @class
(program (lexical_declaration (variable_declarator name: (identifier) @name) @constant)
  (#match? @name "^[A-Z][A-Z0-9_]*$"))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name) @constant))
  (#match? @name "^[A-Z][A-Z0-9_]*$"))
(assignment_expression
  left: (member_expression property: (property_identifier) @name)
  right: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)]) @function

(call_expression function: (identifier) @reference)
(new_expression constructor: (identifier) @reference)
(member_expression property: (property_identifier) @reference)
(member_expression object: (identifier) @reference)
(class_heritage (identifier) @reference)
(import_specifier name: (identifier) @reference)
(import_clause (identifier) @reference)
(export_specifier name: (identifier) @reference)
(decorator (identifier) @reference)

(import_statement source: (string) @import)
(export_statement source: (string) @import)
((call_expression
  function: [(identifier) (import)] @_called
  arguments: (arguments . (string) @import))
  (#any-of? @_called "require" "import"))
