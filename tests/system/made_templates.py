"""Short chat templates in the styles of published families, and awkward ones, with what should come of them."""

_EACH = "{% for message in messages %}"
_CHATML = (
    _EACH + "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_QWEN25 = (
    "{%- if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n"
    "{%- elif messages[0]['role'] != 'system' %}{{- '<|im_start|>system\nBe of help.<|im_end|>\n' }}{%- endif %}"
    + _CHATML
)
_QWEN3 = (
    "{%- set ns = namespace(open=true, last=messages|length - 1) %}{%- for message in messages[::-1] %}"
    "{%- if ns.open and message.role == 'user' and message.content is string and not"
    "(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}"
    "{%- set ns.open = false %}{%- set ns.last = messages|length - 1 - loop.index0 %}{%- endif %}{%- endfor %}"
    + _EACH
    + "{%- if message.role == 'assistant' %}{%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}"
    "{{- '<|im_start|>assistant\n' + ('<think>\n\n</think>\n\n' if loop.index0 > ns.last else '') + content }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content }}{%- endif %}{{- '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
_QWEN35 = (
    "{%- macro shown(content) %}{%- if content is string %}{{- content }}{%- else %}{%- for item in content %}"
    "{{- item.text }}{%- endfor %}{%- endif %}{%- endmacro %}{%- set ns = namespace(asked=false) %}"
    + _EACH
    + "{%- set content = shown(message.content)|trim %}{%- if message.role == 'user' and not"
    "(content.startswith('<tool_response>') and content.endswith('</tool_response>')) %}{%- set ns.asked = true %}"
    "{%- endif %}{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if not ns.asked %}{{- raise_exception('nobody asked') }}{%- endif %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}"
    "{%- if enable_thinking is false %}{{- '\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
_LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_LLAMA31 = (
    "{{- bos_token }}{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}"
    "{%- if not date_string is defined %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{%- if not tools is defined %}{%- set tools = none %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}{%- if tools is not none %}{{- 'Environment: ipython\n' }}"
    "{%- endif %}{{- 'Today Date: ' + date_string + '\n\n<|eot_id|>' }}"
) + _LLAMA3.removeprefix("{{ bos_token }}")
_LLAMA32 = _LLAMA31.replace(
    "{%- set date_string = '26 Jul 2024' %}",
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}"
    "{%- set date_string = '26 Jul 2024' %}{%- endif %}",
)
_LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
_MISTRAL_TOOLS = (
    "{%- set users = messages | selectattr('role', 'equalto', 'user') | list %}{{- bos_token }}"
    "{%- for m in messages %}{%- if m['role'] == 'user' %}{%- if tools is not none and (m == users[-1]) %}"
    "{{- '[AVAILABLE_TOOLS]' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{%- endif %}"
    "{{- '[INST]' + m['content'] + '[/INST]' }}{%- else %}{{- m['content'] + eos_token }}{%- endif %}{%- endfor %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + "
    "m.content | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_GEMMA3 = _GEMMA.replace(
    "{{ '<start_of_turn>'",
    "{%- if m.content is string %}{%- elif m.content is iterable %}{{ raise_exception('parts') }}{%- endif %}"
    "{{ '<start_of_turn>'",
)
_PHI3 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + '<|end|>\n' }}"
    "{% elif m.role == 'assistant' %}{{ '<|assistant|>\n' + m.content + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_PHI4 = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}<|assistant|>"
_DEEPSEEK_R1 = (
    "{% set ns = namespace(system='') %}{{ bos_token }}{{ ns.system }}"
    + _EACH
    + "{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% endif %}"
    "{% if message['role'] == 'assistant' %}{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)
_DEEPSEEK_V3 = _DEEPSEEK_R1.replace(
    "{{ '<｜Assistant｜><think>\\n' }}", "{{ '<｜Assistant｜>' + ('<think>' if thinking else '</think>') }}"
)
_SMOLLM2 = (
    _EACH + "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nI am small.<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SMOLLM3 = (
    "{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}"
    "{{- '<|im_start|>system\n' + strftime_now('%d %B %Y') + (' /think' if enable_thinking else ' /no_think') }}"
    "{{- '<|im_end|>\n' }}{%- for message in messages %}{%- if message.role == 'assistant' %}{% generation %}"
    "{{- '<|im_start|>assistant\n' + message.content + '<|im_end|>\n' }}{% endgeneration %}{%- else %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
_ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_GRANITE = (
    "<|start_of_role|>system<|end_of_role|>Today is {{ strftime_now('%B %d, %Y') }}.{% if documents %} Cite."
    "{% endif %}<|end_of_text|>\n{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m['content'] }}"
    "<|end_of_text|>\n{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
_GLM = (
    "[gMASK]<sop>{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{{ m.content }}{% else %}<|assistant|>\n"
    "{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_COMMAND = (
    "{{ bos_token }}{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' ~ m.content.strip() ~ "
    "'<|END_OF_TURN_TOKEN|>' }}{% endfor %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
)
_FIRST = "{{ messages[0].content }}"

EQUAL = {
    "chatml": _CHATML,
    "qwen2.5": _QWEN25,
    "qwen3": _QWEN3,
    "qwen3.5": _QWEN35,
    "llama2": _LLAMA2,
    "llama3": _LLAMA3,
    "llama3.1": _LLAMA31,
    "llama3.2": _LLAMA32,
    "mistral": _MISTRAL,
    "mistral with tools": _MISTRAL_TOOLS,
    "gemma": _GEMMA,
    "gemma3": _GEMMA3,
    "phi3": _PHI3,
    "phi4": _PHI4,
    "deepseek r1": _DEEPSEEK_R1,
    "deepseek v3": _DEEPSEEK_V3,
    "smollm2": _SMOLLM2,
    "smollm3": _SMOLLM3,
    "zephyr": _ZEPHYR,
    "granite": _GRANITE,
    "glm": _GLM,
    "command": _COMMAND,
    "tools are none": "{% if tools is not none %}TOOLS{% endif %}{% if documents is not none %}DOCS{% endif %}"
    + _FIRST,
    "every special token": "{{ unk_token }}{{ pad_token }}{{ sep_token }}{{ cls_token }}{{ mask_token }}" + _FIRST,
    "a generation block": "{% generation %}" + _FIRST + "{% endgeneration %}",
    "loop controls": "{% for m in messages %}{% if m.role != 'user' %}{% continue %}{% endif %}"
    "{{ m.content }}{% break %}{% endfor %}",
    "dict, namespace and items": "{% set d = dict(a=1) %}{% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %}"
    + _FIRST,
    "a set block that is trimmed": "{% set x %} {{ messages[0].content }} {% endset %}<{{ x | trim }}>",
    "a branch that never matters": "{% if '/think' in messages[0].content %}{% endif %}" + _FIRST,
    "a branch that the prompt answers": "{% if 'Answer' in messages[0].content %}yes{% else %}no{% endif %}" + _FIRST,
    "white space around": "  \n {{- '\t' }}" + _FIRST + "\n\n ",
    "json with an indent": "{{ {'b': 'é<', 'a': [1]} | tojson(indent=2) }}" + _FIRST,
}
"""transformers' text comes out for each question."""

_OTHERWISE = "writes another text when the message"
REFUSED = {
    "a keyword": ("{% if '/no_think' in messages[0].content %}<think></think>{% endif %}" + _FIRST, _OTHERWISE),
    "a start": ("{{ 'Q' if not messages[0].content.endswith('?') }}" + _FIRST, "message ends with '\\?'"),
    "a word of its own": ("{% if messages[0].content == 'Answer. go' %}x{% endif %}" + _FIRST, _OTHERWISE),
    "a length": ("{% if messages[0].content | length > 500 %}long{% endif %}" + _FIRST, "'length'"),
    "capitals": ("{{ messages[0].content | upper }}", "'upper'"),
    "json": ("{{ messages | tojson }}", "'tojson'"),
    "a replacement": ("{{ messages[0].content.replace('a', 'b') }}", "replace"),
    "one end stripped": ("{{ messages[0].content.rstrip() }}", "rstrip"),
    "letters": ("{% for c in messages[0].content %}{{ c }}{% endfor %}", "letter by letter"),
    "a slice": ("{{ messages[0].content[:9] }}", "__getitem__"),
    "a formatted text": ("{{ '%s!' % messages[0].content }}", "'%'"),
    "another's text": ("{{ messages[0].content in 'yes no' }}" + _FIRST, "another text"),
    "a table": ("{{ {'hi': 'ho'}[messages[0].content] }}" + _FIRST, "looks the message up"),
    "twice": (_FIRST + _FIRST, "2 times"),
    "never": ("nothing", "0 times"),
    "no Jinja": ("{% for %}", "cannot be rendered: Expected"),
    "its own refusal": ("{{ raise_exception('no') }}", "cannot be rendered: no"),
    "a type error": ("{{ messages[0].content + 1 }}", "cannot be rendered"),
    "tools that are none": ("{% for tool in tools %}{% endfor %}" + _FIRST, "cannot be rendered"),
    "a division by zero": ("{{ 1 / 0 }}" + _FIRST, "cannot be rendered"),
    "an endless recursion": ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}" + _FIRST, "cannot be rendered"),
    "a way out of the sandbox": ("{{ ''.__class__.__mro__ }}" + _FIRST, "cannot be rendered"),
    "a long range": ("{% for i in range(10**9) %}{% endfor %}" + _FIRST, "cannot be rendered"),
    "much memory": ("{{ 'a' * 10**11 }}" + _FIRST, "too much memory"),
}
"""With a part of the reason."""
