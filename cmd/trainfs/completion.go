package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completions are the scripts that teach a shell our commands, flags and mount options.
var completions = map[string]func(*cli.App) (string, error){
	"bash": bashCompletion,
	"zsh":  zshCompletion,
	"fish": (*cli.App).ToFishCompletion,
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the script that completes trainfs commands in a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: examples("trainfs completion bash > /etc/bash_completion.d/trainfs",
			`trainfs completion zsh > "${fpath[1]}/_trainfs"`,
			"trainfs completion fish > ~/.config/fish/completions/trainfs.fish"),
		Category:     categoryProgram,
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			script, ok := completions[c.Args().First()]
			if !ok || c.Args().Len() != 1 {
				return usagef("wanted one of bash, zsh and fish: trainfs completion SHELL")
			}
			text, err := script(c.App)
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.App.Writer, text)
			return err
		},
	}
}

func bashCompletion(app *cli.App) (string, error) {
	var names, flags strings.Builder
	for _, c := range app.VisibleCommands() {
		names.WriteString(" " + c.Name)
		words := flagWords(c)
		for _, sub := range c.Subcommands {
			if sub.Name != "help" {
				words = append(append(words, sub.Name), flagWords(sub)...)
			}
		}
		fmt.Fprintf(&flags, "\t%s) words=%s ;;\n", c.Name, shellQuote(strings.Join(words, " ")))
	}
	return fmt.Sprintf(`# bash completion for trainfs
_trainfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W %s -- "$cur"))
		return
	fi
	if [ "$prev" = -o ]; then
		compopt -o nospace
		local before=
		[[ $cur != *,* ]] || before=${cur%%,*},
		COMPREPLY=($(compgen -P "$before" -W %s -- "${cur##*,}"))
		return
	fi
	case ${COMP_WORDS[1]} in
%s	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	[[ $cur == -* ]] || COMPREPLY+=($(compgen -f -- "$cur"))
}
complete -o filenames -F _trainfs trainfs
`, shellQuote(strings.TrimSpace(names.String())), shellQuote(strings.Join(optionWords(), " ")), flags.String()), nil
}

func zshCompletion(app *cli.App) (string, error) {
	var names, flags strings.Builder
	for _, c := range app.VisibleCommands() {
		fmt.Fprintf(&names, "\t\t\t%s\n", shellQuote(c.Name+":"+strings.ReplaceAll(c.Usage, ":", `\:`)))
		fmt.Fprintf(&flags, "\t%s)", c.Name)
		for _, sub := range c.Subcommands {
			if sub.Name != "help" {
				fmt.Fprintf(&flags, " compadd -- %s;", sub.Name)
			}
		}
		if words := flagWords(c); len(words) > 0 {
			fmt.Fprintf(&flags, " [[ $PREFIX != -* ]] || compadd -- %s;", strings.Join(words, " "))
		}
		flags.WriteString(" [[ $PREFIX == -* ]] || _files ;;\n")
	}
	return fmt.Sprintf(`#compdef trainfs
_trainfs() {
	if (( CURRENT == 2 )); then
		local -a commands=(
%s		)
		_describe command commands
		return
	fi
	if [[ $words[CURRENT-1] == -o ]]; then
		compset -P '*,'
		compadd -S '' -- %s
		return
	fi
	case $words[2] in
%s	esac
}
_trainfs "$@"
`, names.String(), strings.Join(optionWords(), " "), flags.String()), nil
}

// flagWords are a command's flags as they are typed, but for those of one letter.
func flagWords(c *cli.Command) []string {
	var words []string
	for _, f := range ownFlags(c) {
		for _, n := range f.Names() {
			switch {
			case len(n) > 1:
				words = append(words, "--"+n)
			case n == "o" || n == "f":
				words = append(words, "-"+n)
			}
		}
	}
	slices.Sort(words)
	return words
}

// optionWords are the mount options as they are typed.
func optionWords() []string {
	var words []string
	for i := range optionTable {
		if o := &optionTable[i]; o.kind == kindBool {
			words = append(words, o.name)
		} else {
			words = append(words, o.name+"=")
		}
	}
	return words
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
