; What a Scala file defines and uses. A capture's name is the definition's kind.

(class_definition name: (_) @name body: (_)? @body) @class
(object_definition name: (_) @name body: (_)? @body) @object
(trait_definition name: (_) @name body: (_)? @body) @trait
(enum_definition name: (_) @name body: (_)? @body) @enum
(function_definition name: (_) @name body: (_)? @body) @function
(function_declaration name: (_) @name) @function
(type_definition name: (_) @name) @type
(template_body (val_definition pattern: (identifier) @name) @constant
  (#match? @name "^[A-Z]"))

(call_expression function: (identifier) @reference)
(generic_function function: (identifier) @reference)
(field_expression field: (identifier) @reference)
(field_expression value: (identifier) @reference)
(type_identifier) @reference
(instance_expression (type_identifier) @reference)
(import_declaration path: (identifier) @reference .)
