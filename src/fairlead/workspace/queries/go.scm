; What a Go file defines, uses and imports. A capture's name is the definition's kind.

(function_declaration name: (_) @name body: (_)? @body) @function
(method_declaration name: (_) @name body: (_)? @body) @method
(type_declaration . (type_spec name: (_) @name type: (struct_type (field_declaration_list) @body)) .) @struct
(type_declaration . (type_spec name: (_) @name type: (interface_type "{" @body)) .) @interface
(type_declaration . (type_spec name: (_) @name) .) @type
(type_spec name: (_) @name type: (struct_type (field_declaration_list) @body)) @struct
(type_spec name: (_) @name type: (interface_type "{" @body)) @interface
(type_spec name: (_) @name) @type
(type_alias name: (_) @name) @type
(method_elem name: (_) @name) @method
(source_file (const_declaration (const_spec name: (identifier) @name) @constant))
(source_file (var_declaration (var_spec name: (identifier) @name) @variable))

(call_expression function: (identifier) @reference)
(selector_expression field: (field_identifier) @reference)
(type_identifier) @reference
(composite_literal type: (qualified_type name: (type_identifier) @reference))
(unary_expression operand: (identifier) @reference)

(import_spec path: (_) @import)
