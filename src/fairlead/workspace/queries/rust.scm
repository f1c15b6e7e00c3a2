; What a Rust file defines, uses and imports. A capture's name is the definition's kind.

(struct_item name: (_) @name body: (_)? @body) @struct
(union_item name: (_) @name body: (_)? @body) @struct
(enum_item name: (_) @name body: (_)? @body) @enum
(trait_item name: (_) @name body: (_)? @body) @trait
(impl_item
  type: [(type_identifier) @name (generic_type type: (type_identifier) @name)]
  body: (_)? @body) @impl
(function_item name: (_) @name body: (_)? @body) @function
(function_signature_item name: (_) @name) @function
(mod_item name: (_) @name body: (_) @body) @module
(type_item name: (_) @name) @type
(associated_type name: (_) @name) @type
(const_item name: (_) @name) @constant
(static_item name: (_) @name) @constant
(macro_definition name: (_) @name) @macro

(call_expression function: (identifier) @reference)
(call_expression function: (generic_function function: (identifier) @reference))
(scoped_identifier path: (identifier) @reference)
(scoped_identifier name: (identifier) @reference)
(field_expression field: (field_identifier) @reference)
(macro_invocation macro: (identifier) @reference)
(type_identifier) @reference
(use_list (identifier) @reference)
(use_as_clause path: (identifier) @reference)
(attribute (identifier) @reference)

(use_declaration) @import
(mod_item !body) @import
