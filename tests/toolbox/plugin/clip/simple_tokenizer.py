"""One token per character: enough to tell class names apart."""

START, END = "<|startoftext|>", "<|endoftext|>"


class SimpleTokenizer:
    def __init__(self):
        characters = [chr(code) for code in range(32, 127)]
        self.decoder = dict(enumerate([*characters, START, END]))
        self.encoder = {token: number for number, token in self.decoder.items()}

    def encode(self, text):
        return [self.encoder[character] for character in " ".join(text.lower().split())]

    def decode(self, tokens):
        return "".join(self.decoder[number] for number in tokens)
