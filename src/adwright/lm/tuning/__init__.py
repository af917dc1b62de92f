"""Parameter-efficient tuning of Llama-type language models: one method, one file.

>>> from adwright.lm.tuning.lora import LoRA
>>> LoRA(rank=4).scale
4.0
"""
