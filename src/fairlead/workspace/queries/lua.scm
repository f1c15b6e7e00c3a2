; What a Lua file defines and uses. A capture's name is the definition's kind.

(function_declaration name: (identifier) @name body: (_)? @body) @function
(function_declaration name: (dot_index_expression field: (_) @name) body: (_)? @body) @function
(function_declaration name: (method_index_expression method: (_) @name) body: (_)? @body) @method
(assignment_statement
  (variable_list . name: [(identifier) @name (dot_index_expression field: (_) @name)])
  (expression_list . value: (function_definition body: (_)? @body))) @function

(function_call name: (identifier) @reference)
(function_call name: (dot_index_expression field: (_) @reference))
(function_call name: (method_index_expression method: (_) @reference))
(dot_index_expression table: (identifier) @reference)
(method_index_expression table: (identifier) @reference)
