"""Parameter-efficient tuning of Llama-type language models: one method, one file.

>>> from adwright.tuning.reparameterised.lora import LoRA
>>> LoRA(rank=4).scale
4.0
"""
