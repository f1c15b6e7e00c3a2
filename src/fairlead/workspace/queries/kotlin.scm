; What a Kotlin file defines and uses. A capture's name is the definition's kind.

(class_declaration "interface" name: (_) @name (class_body)? @body) @interface
(class_declaration name: (_) @name [(class_body) (enum_class_body)]? @body) @class
(object_declaration name: (_) @name (class_body)? @body) @object
(function_declaration name: (_) @name (function_body)? @body) @function
(type_alias type: (_) @name) @type
(source_file (property_declaration (variable_declaration (identifier) @name)) @variable)

(call_expression (identifier) @reference)
(navigation_expression (identifier) @reference)
(user_type (identifier) @reference)
(import (qualified_identifier (identifier) @reference .))
