; What a Swift file defines and uses. A capture's name is the definition's kind.

(class_declaration declaration_kind: "struct" name: (type_identifier) @name body: (_)? @body) @struct
(class_declaration declaration_kind: "enum" name: (type_identifier) @name body: (_)? @body) @enum
(class_declaration declaration_kind: "extension" name: (_ (type_identifier) @name) body: (_)? @body) @extension
(class_declaration name: (type_identifier) @name body: (_)? @body) @class
(protocol_declaration name: (type_identifier) @name body: (_)? @body) @protocol
(function_declaration name: (simple_identifier) @name body: (_)? @body) @function
(protocol_function_declaration name: (simple_identifier) @name) @method
(init_declaration name: _ @name body: (_)? @body) @constructor
(typealias_declaration name: (type_identifier) @name) @type
(source_file (property_declaration name: (pattern bound_identifier: (_) @name)) @variable)

(call_expression (simple_identifier) @reference)
(navigation_suffix suffix: (simple_identifier) @reference)
(navigation_expression target: (simple_identifier) @reference)
(user_type (type_identifier) @reference)
