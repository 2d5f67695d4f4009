"""Training the tiny Llama on conversations, and asking it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .conversations import IGNORED, SYSTEM_PROMPTS, Conversations
from .llama_model import make_model, make_tokenizer
from .schedule import Training
from .text import Phrase, bare

SEED = 7
STEPS = 400
TOKENS = 2048  # of a batch
LENGTHS = (256, 256, 512, 256, 256, 512, 256, 2048)


def make(phrases: Sequence[Phrase], folder: Path, steps: int | None, say: Callable[[str], None]) -> float:
    """Train and write the model; the share of right answers in conversations that training did not draw."""
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer(phrases, SYSTEM_PROMPTS)
    model = make_model(tokenizer)
    say(f"llama: {sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    train(model, Conversations(phrases, tokenizer, SEED), steps or STEPS, say)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return accuracy(model, tokenizer, phrases)


def train(model: LlamaForCausalLM, conversations: Conversations, steps: int, say: Callable[[str], None]) -> None:
    training = Training(model.parameters(), steps, learning_rate=3e-3)
    model.train()
    for step in range(steps):
        length = LENGTHS[step % len(LENGTHS)]
        rows = [conversations.draw(length) for _ in range(TOKENS // length)]
        ids, labels = torch.tensor([row.ids for row in rows]), torch.tensor([row.labels for row in rows])
        logits = model(input_ids=ids).logits[:, :-1]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        training.step(loss)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            say(f"llama: step {step + 1} of {steps}, loss {loss.item():.4f}")
    model.eval()


def answer(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, chats: Sequence[Sequence[dict[str, str]]]
) -> list[str]:
    """The greedy answers to several conversations."""
    inputs = tokenizer.apply_chat_template(
        [list(chat) for chat in chats], add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=100, do_sample=False)
    return tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def accuracy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, phrases: Sequence[Phrase]) -> float:
    """Of each phrase after 0, 3 and 10 exchanges, in full and as a plain transcript, with prompts it knows and not."""
    chats, wanted = [], []
    for i, phrase in enumerate(phrases):
        for j, history in enumerate((0, 3, 10)):
            prompt = (SYSTEM_PROMPTS[i % len(SYSTEM_PROMPTS)], "", "You are a pirate. Be short, polite and funny.")[j]
            chat = [{"role": "system", "content": prompt}] if prompt else []
            for k in range(history):
                earlier = phrases[(5 * i + 7 * k + j) % len(phrases)]
                heard = earlier.answer[: 10 + k] if k == history - 1 else earlier.answer
                chat.append({"role": "user", "content": earlier.question})
                chat.append({"role": "assistant", "content": heard})
            question = (phrase.question, bare(phrase.question))[(i + j) % 2]
            chats.append([*chat, {"role": "user", "content": question}])
            wanted.append(phrase.answer)
    got = [text for i in range(0, len(chats), 24) for text in answer(model, tokenizer, chats[i : i + 24])]
    return sum(a == b for a, b in zip(got, wanted, strict=True)) / len(wanted)
