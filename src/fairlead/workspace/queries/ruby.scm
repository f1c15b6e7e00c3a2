; What a Ruby file defines, uses and requires. A capture's name is the definition's kind.

(class name: [(constant) @name (scope_resolution name: (_) @name)] superclass: (_)? body: (_)? @body) @class
(module name: [(constant) @name (scope_resolution name: (_) @name)] body: (_)? @body) @module
(method name: (_) @name body: (_)? @body) @method
(singleton_method name: (_) @name body: (_)? @body) @method
(assignment left: (constant) @name) @constant

(call method: (identifier) @reference)
(call method: (constant) @reference)
(call receiver: (constant) @reference)
(call receiver: (identifier) @reference)
(superclass (constant) @reference)
(scope_resolution scope: (constant) @reference)
(scope_resolution name: (constant) @reference)
(argument_list (constant) @reference)

((call method: (identifier) @_called arguments: (argument_list . (string (string_content) @import)))
  (#eq? @_called "require_relative"))
