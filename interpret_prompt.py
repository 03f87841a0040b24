"""The same as `ccli words`: python interpret_prompt.py --help"""

from functools import partial

from ccli.cli import run

main = partial(run, "words", "interpret_prompt.py")
if __name__ == "__main__":
    raise SystemExit(main())
