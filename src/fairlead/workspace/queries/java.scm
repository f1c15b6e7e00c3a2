; What a Java file defines, uses and imports. A capture's name is the definition's kind.

(class_declaration name: (_) @name body: (_)? @body) @class
(record_declaration name: (_) @name body: (_)? @body) @class
(interface_declaration name: (_) @name body: (_)? @body) @interface
(annotation_type_declaration name: (_) @name body: (_)? @body) @interface
(enum_declaration name: (_) @name body: (_)? @body) @enum
(method_declaration name: (_) @name body: (_)? @body) @method
(constructor_declaration name: (_) @name body: (_)? @body) @constructor
(field_declaration
  (modifiers) @_modifiers
  declarator: (variable_declarator name: (_) @name)
  (#match? @_modifiers "static(.|\n)*final|final(.|\n)*static")) @constant

(method_invocation name: (_) @reference)
(method_invocation object: (identifier) @reference)
(field_access field: (identifier) @reference)
(field_access object: (identifier) @reference)
(method_reference (identifier) @reference)
(type_identifier) @reference
(annotation name: (identifier) @reference)
(marker_annotation name: (identifier) @reference)
(import_declaration (scoped_identifier name: (identifier) @reference))

(import_declaration) @import
