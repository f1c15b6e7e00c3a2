; What a C# file defines and uses. A capture's name is the definition's kind.

(class_declaration name: (_) @name body: (_)? @body) @class
(record_declaration name: (_) @name body: (_)? @body) @class
(struct_declaration name: (_) @name body: (_)? @body) @struct
(interface_declaration name: (_) @name body: (_)? @body) @interface
(enum_declaration name: (_) @name body: (_)? @body) @enum
(namespace_declaration name: (_) @name body: (_)? @body) @module
(delegate_declaration name: (_) @name) @type
(method_declaration name: (_) @name body: (_)? @body) @method
(constructor_declaration name: (_) @name body: (_)? @body) @constructor
(local_function_statement name: (_) @name body: (_)? @body) @function
(property_declaration name: (_) @name accessors: (_)? @body) @property
(field_declaration
  (modifier) @_modifier
  (variable_declaration (variable_declarator name: (_) @name))
  (#eq? @_modifier "const")) @constant

(invocation_expression function: (identifier) @reference)
(invocation_expression function: (generic_name (identifier) @reference))
(member_access_expression name: (identifier) @reference)
(member_access_expression name: (generic_name (identifier) @reference))
(member_access_expression expression: (identifier) @reference)
(member_binding_expression name: (identifier) @reference)
(object_creation_expression type: (identifier) @reference)
(generic_name (identifier) @reference)
(type_argument_list (identifier) @reference)
(base_list (identifier) @reference)
(attribute name: (identifier) @reference)
(parameter type: (identifier) @reference)
(variable_declaration type: (identifier) @reference)
(method_declaration returns: (identifier) @reference)
(property_declaration type: (identifier) @reference)
(nullable_type type: (identifier) @reference)
(array_type type: (identifier) @reference)
(cast_expression type: (identifier) @reference)
(using_directive (qualified_name name: (identifier) @reference))
