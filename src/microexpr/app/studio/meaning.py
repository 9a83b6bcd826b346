"""The third tab: what the results mean and what they do not."""

from __future__ import annotations

import gradio as gr

from microexpr.app.studio.results import words

WORDS = """
<div class="note"><b>It is no lie detector.</b> There is no facial movement that shows a lie. What
somebody felt cannot be read from a face with certainty. Do not use it to judge, hire, police,
diagnose or rank anyone.</div>
<h2>What is shown</h2>
<ul>
<li><b>A movement</b> is a stretch in which several regions of the face move further than the noise
of this very recording. Up to 0.5 s it is called a micro-expression, longer a macro movement.
Speaking, chewing and swallowing move the face too and are found; weak movements, and those in a
blink or a turn of the head, are missed.</li>
<li><b>Onset, apex, offset</b>: where it begins, is greatest, and has gone back.</li>
<li><b>The emotion</b> is the class that the model finds likeliest: by default negative, positive or
surprise, and nothing else. They are the classes of data sets in which people watched films in
a laboratory. There is no class for speech, or for none of these.</li>
<li><b>The probabilities</b> are the model's. Each movement is read ten times, with onset and apex
moved a little; the bar shows the mean, the line the lowest and the highest. No confidence interval:
it tells how much the answer hangs on the exact frames. When the mean is too low or the readings
disagree, <b>no emotion is named</b>.</li>
<li><b>Action units</b> are a suggestion from the directions of the motion. A certified FACS coder
also sees wrinkles and bulges, and may disagree.</li>
<li><b>Quality</b> says what stood in the way: few frames per second, a turned, small, blurred or
dark face, a blink, a movement that is cut off.</li>
</ul>
<h2>What limits it</h2>
<ul>
<li>The default model was trained on synthetic faces alone. Each report states how well it did on
real clips, or that this was not measured.</li>
<li>The data behind this field are a few hundred clips of mostly young people in laboratories.
Nothing here is known to hold for others.</li>
<li>At 30 frames per second the shortest movements cannot be told from noise; 100 or more are
better.</li>
<li><b>No face seen</b> is a result as well: then nothing was analysed.</li>
</ul>
<h2>Your videos</h2>
<p>Faces are biometric data. Nothing is sent anywhere: the page is served by this computer to this
computer. A video and its results are removed when the tab is closed, when another video is taken,
and after a while without use.</p>
"""


def build() -> None:
    """Lays the tab out."""
    with gr.Column(elem_classes="text"):
        words(WORDS)
