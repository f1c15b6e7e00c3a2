; What a shell script defines and uses. A capture's name is the definition's kind.

(function_definition name: (_) @name body: (_)? @body) @function
(program (declaration_command (variable_assignment name: (_) @name)) @constant
  (#match? @name "^[A-Z]"))
(program (variable_assignment name: (_) @name) @constant
  (#match? @name "^[A-Z]"))

(command name: (command_name (word) @reference))
((simple_expansion (variable_name) @reference) (#match? @reference "^[A-Za-z_]"))
((expansion (variable_name) @reference) (#match? @reference "^[A-Za-z_]"))
