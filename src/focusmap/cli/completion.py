"""``focusmap completion``: a script that makes the Tab key complete commands, options and closed choices."""

from dataclasses import dataclass
from typing import Annotated, Literal

from focusmap.cli import COMMANDS, command_class
from focusmap.cli.arguments import arguments_of, spelt
from focusmap.settings import Setting

EXAMPLE = """\
examples:
  source <(focusmap completion bash)          in this shell; in ~/.bashrc for all to come
  source <(focusmap completion zsh)           in ~/.zshrc, below compinit"""
SCRIPT = """\
_focusmap() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=""
  if (( COMP_CWORD == 1 )); then
    words="{commands} --help --version"
  else
    case "${{COMP_WORDS[1]}} $before" in
{choices}
      *) [[ $word == -* ]] && case "${{COMP_WORDS[1]}}" in
{options}
      esac ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -o bashdefault -F _focusmap focusmap
"""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """For which shell."""

    shell: Annotated[Literal["bash", "zsh"], Setting("bash or zsh", "SHELL", is_positional=True)]

    def __call__(self) -> None:
        """Run the command."""
        if self.shell == "zsh":
            print("autoload -U +X bashcompinit && bashcompinit")
        print(completion_script(), end="")


def completion_script() -> str:
    """Return the script for bash, which zsh understands too."""
    options, choices = [], []
    for name in COMMANDS:
        fields = [field for _, _, field in arguments_of(command_class(name))]
        spelled = [f"--{spelt(field)}" for field in fields if not getattr(field.said, "is_positional", False)]
        options.append(f'        {name}) words="{" ".join([*spelled, "--help"])}" ;;')
        choices += [
            f'      "{name} --{spelt(field)}") words="{" ".join(field.choices)}" ;;'
            for field in fields
            if field.choices
        ]
    return SCRIPT.format(commands=" ".join(COMMANDS), choices="\n".join(choices), options="\n".join(options))
