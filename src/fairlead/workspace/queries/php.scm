; What a PHP file defines and uses. A capture's name is the definition's kind.

(class_declaration name: (_) @name body: (_)? @body) @class
(interface_declaration name: (_) @name body: (_)? @body) @interface
(trait_declaration name: (_) @name body: (_)? @body) @trait
(enum_declaration name: (_) @name body: (_)? @body) @enum
(function_definition name: (_) @name body: (_)? @body) @function
(method_declaration name: (_) @name body: (_)? @body) @method
(const_declaration (const_element . (name) @name)) @constant

(function_call_expression function: [
  (name) @reference
  (qualified_name (name) @reference)])
(member_call_expression name: (name) @reference)
(nullsafe_member_call_expression name: (name) @reference)
(member_access_expression name: (name) @reference)
(scoped_call_expression scope: (name) @reference)
(scoped_call_expression name: (name) @reference)
(class_constant_access_expression (name) @reference)
(object_creation_expression [(name) @reference (qualified_name (name) @reference)])
(base_clause [(name) @reference (qualified_name (name) @reference)])
(class_interface_clause [(name) @reference (qualified_name (name) @reference)])
(named_type [(name) @reference (qualified_name (name) @reference)])
(attribute (name) @reference)
(use_declaration (name) @reference)
(namespace_use_clause [(name) @reference (qualified_name (name) @reference)])
