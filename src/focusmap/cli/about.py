"""Commands about focusmap itself: ``focusmap doctor`` and ``completion``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import focusmap
from focusmap.basics import Setting
from focusmap.cli import COMMANDS, command_class
from focusmap.cli.arguments import arguments_of, option_name

if TYPE_CHECKING:
    from focusmap.basics import Diagnosis, OptionalPart


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """``focusmap doctor``, which has no options."""

    EXAMPLE: ClassVar[str] = "example: focusmap doctor"

    def __call__(self) -> None:
        """Run the command."""
        print("\n".join(_lines(focusmap.doctor())))


def _lines(found: "Diagnosis") -> list[str]:
    width = max(map(len, found.libraries), default=0)
    versions = [f"  {name:<{width}}  {version or 'MISSING'}" for name, version in sorted(found.libraries.items())]
    missing = [name for name, version in found.libraries.items() if version is None]
    remedy = [f"  get what is missing with: pip install {' '.join(missing)}"] if missing else []
    return [
        f"focusmap  {found.focusmap}",
        f"python    {found.python}",
        f"system    {found.system}",
        "devices",
        *(f"  {device}" for device in found.devices),
        "libraries",
        *(versions or ["  unknown: focusmap is not installed"]),
        *remedy,
        "optional parts",
        *(line for part in found.optional for line in _part(part)),
    ]


def _part(part: "OptionalPart") -> list[str]:
    lines = [f"  {part.name:<16}  {part.state:<7}  {part.purpose}"]
    return lines if part.state == "present" else [*lines, f"  {'':<16}  get it with: {part.remedy}"]


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
    """Options of ``focusmap completion``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      source <(focusmap completion bash)          in this shell; in ~/.bashrc for all to come
      source <(focusmap completion zsh)           in ~/.zshrc, below compinit"""

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
        spelled = [f"--{option_name(field)}" for field in fields if not getattr(field.setting, "is_positional", False)]
        options.append(f'        {name}) words="{" ".join([*spelled, "--help"])}" ;;')
        choices += [
            f'      "{name} --{option_name(field)}") words="{" ".join(field.choices)}" ;;'
            for field in fields
            if field.choices
        ]
    return SCRIPT.format(commands=" ".join(COMMANDS), choices="\n".join(choices), options="\n".join(options))
