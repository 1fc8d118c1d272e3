"""What a user can set, and nothing else: `from config.settings import load_settings`.

    settings.py    the names the rest of the project imports
    tree.py        the frozen tree: every setting with its default, its bounds and its meaning
    values.py      one raw value -> one checked value
    secret.py      a value that never shows itself
    dotenv.py      the reader of `.env`
    providers.py   the table of providers, from TOML and from well-known names such as OPENAI_API_KEY
    loading.py     defaults < TOML < .env < environment -> Settings
    describe.py    every setting as data, for `.env.example` and the docs

Imports nothing of ours from outside this folder.
"""
