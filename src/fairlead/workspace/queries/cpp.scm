; What a C++ file defines, uses and includes. A capture's name is the definition's kind.

(class_specifier
  name: [(type_identifier) @name (template_type name: (type_identifier) @name)]
  body: (_) @body) @class
(struct_specifier
  name: [(type_identifier) @name (template_type name: (type_identifier) @name)]
  body: (_) @body) @struct
(union_specifier name: (type_identifier) @name body: (_) @body) @struct
(enum_specifier name: (type_identifier) @name body: (_) @body) @enum
(namespace_definition name: (_) @name body: (_) @body) @module
(concept_definition name: (_) @name) @type
(alias_declaration name: (_) @name) @type
; The struct is a definition of its own: its fields are no part of the new name's signature.
(type_definition
  type: [(struct_specifier body: (_)) (union_specifier body: (_)) (enum_specifier body: (_))]
  declarator: (type_identifier) @name @type)
(type_definition declarator: (type_identifier) @name) @type

(function_definition
  declarator: [
    (function_declarator declarator: [
      (identifier) @name
      (field_identifier) @name
      (destructor_name) @name
      (operator_name) @name])
    (_ (function_declarator declarator: [
      (identifier) @name (field_identifier) @name (operator_name) @name]))]
  body: (_)? @body) @function
(function_definition
  declarator: [
    (function_declarator declarator: (qualified_identifier
      name: [(identifier) (destructor_name) (operator_name)] @name))
    (_ (function_declarator declarator: (qualified_identifier
      name: [(identifier) (operator_name)] @name)))]
  body: (_)? @body) @method
(function_definition
  declarator: (function_declarator declarator: (qualified_identifier
    name: (qualified_identifier name: [(identifier) (destructor_name)] @name)))
  body: (_)? @body) @method
(field_declaration
  declarator: [
    (function_declarator declarator: (field_identifier) @name)
    (_ (function_declarator declarator: (field_identifier) @name))]) @method
(field_declaration_list (declaration
  declarator: (function_declarator declarator: [(identifier) (destructor_name)] @name)) @method)
(translation_unit (declaration
  declarator: (function_declarator declarator: (identifier) @name)) @function)
(declaration_list (declaration
  declarator: (function_declarator declarator: (identifier) @name)) @function)
(preproc_def name: (_) @name value: (_)) @macro
(preproc_function_def name: (_) @name) @macro

(call_expression function: (identifier) @reference)
(call_expression function: (template_function name: (identifier) @reference))
(qualified_identifier scope: (namespace_identifier) @reference)
(qualified_identifier name: (identifier) @reference)
(field_expression field: (field_identifier) @reference)
(type_identifier) @reference
(initializer_pair value: (identifier) @reference)
(using_declaration (identifier) @reference)

(preproc_include path: (string_literal) @import)
